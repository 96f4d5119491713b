variable "name" {
  description = "What everything is named after."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "cidr" {
  description = "The network's addresses, as a /16 to /22."
  type        = string
}

variable "zones" {
  description = "Letters of the availability zones to use: 2 or 3. A broker of Kafka is in each."
  type        = list(string)
  validation {
    condition     = contains([2, 3], length(distinct(var.zones)))
    error_message = "zones should be 2 or 3 letters, as [\"a\", \"b\"]."
  }
}

variable "endpoints" {
  description = "AWS services with a private address of their own, as ecr.api; each costs by the hour and zone."
  type        = set(string)
}

variable "key_arn" {
  description = "The KMS key that logs are encrypted with."
  type        = string
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
