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

variable "key_arn" {
  description = "The KMS key of tables and results."
  type        = string
}

variable "most_gigabytes_per_query" {
  description = "A query that would read more is ended."
  type        = number
}
