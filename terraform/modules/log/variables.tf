variable "name" {
  description = "What everything is named after."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "A private subnet in each zone; a broker is in each."
  type        = list(string)
}

variable "clients" {
  description = "Who may connect: the security group of each."
  type        = map(string)
}

variable "key_arn" {
  description = "The KMS key of volumes, logs and the password. MSK takes no secret that is encrypted with AWS' own key."
  type        = string
}

variable "kafka_version" {
  description = "Of MSK."
  type        = string
  default     = "4.1.x.kraft"
}

variable "instance_type" {
  description = "Of each broker."
  type        = string
}

variable "gigabytes" {
  description = "Of each broker's volume."
  type        = number
}

variable "user" {
  description = "The name that the hub logs in with."
  type        = string
  default     = "insights"
}

variable "passwords_version" {
  description = "A higher number makes a new password at the next apply."
  type        = number
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
