variable "name" {
  description = "What everything is named after."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "A private subnet in each zone."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "Who may connect."
  type        = string
}

variable "client_role_arn" {
  description = "The role that may mount it."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of the files."
  type        = string
}
