variable "name" {
  description = "The bucket's, which nobody else in the world may have."
  type        = string
}

variable "key_arn" {
  description = "The KMS key of its objects."
  type        = string
}

variable "days_by_prefix" {
  description = "Objects that are removed after some days, as { \"replays/\" = 30 }."
  type        = map(number)
  default     = {}
}
