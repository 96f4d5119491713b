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
  description = "Whom the live job connects to: their security groups and ports."
  type = map(object({
    security_group_id = string
    port              = number
  }))
}

variable "lake" {
  description = "The bucket, and the folder in it, that the live job copies the log to."
  type = object({
    bucket_arn = string
    prefix     = string
  })
}

variable "key_arn" {
  description = "The KMS key of packages, passwords, the lake and the log."
  type        = string
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
