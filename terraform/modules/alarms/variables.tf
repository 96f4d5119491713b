variable "name" {
  description = "What everything is named after."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of the messages, which CloudWatch must be allowed to use."
  type        = string
}

variable "emails" {
  description = "Who is told."
  type        = set(string)
}

variable "dollars_a_month" {
  description = "The account's budget: a message comes at 80 %, and when all of it is to be expected."
  type        = number
}

variable "load_balancer" {
  description = "The page's, as CloudWatch knows it."
  type        = string
}

variable "target_group" {
  description = "The page's, as CloudWatch knows it."
  type        = string
}

variable "ecs_cluster" {
  description = "The hub's."
  type        = string
}

variable "ecs_service" {
  description = "The hub's."
  type        = string
}

variable "kafka_cluster" {
  description = "As CloudWatch knows it."
  type        = string
}

variable "kafka_brokers" {
  description = "How many brokers there are."
  type        = number
}

variable "database" {
  description = "Postgres, as CloudWatch knows it."
  type        = string
}
