variable "name" {
  description = "What everything is named after."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "account_id" {
  description = "The account."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "servers" {
  description = "Whom a job connects to: their security groups and ports."
  type = map(object({
    security_group_id = string
    port              = number
  }))
}

variable "lake" {
  description = "The bucket, and the folder in it, that have the log's copy."
  type = object({
    bucket_arn = string
    prefix     = string
  })
}

variable "key_arn" {
  description = "The KMS key of files, results, logs and the lake."
  type        = string
}

variable "release_label" {
  description = "Of EMR: its Spark must be the one that the jars are made for, 4.1."
  type        = string
  default     = "emr-spark-8.2.0"
}

variable "most_executors" {
  description = "How many executors there may be at once, of all replays together."
  type        = number
}
