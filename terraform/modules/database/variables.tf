variable "name" {
  description = "What everything is named after."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in two zones at least."
  type        = list(string)
}

variable "clients" {
  description = "Who may connect: the security group of each."
  type        = map(string)
}

variable "key_arn" {
  description = "The KMS key of the volume and the password."
  type        = string
}

variable "engine_version" {
  description = "Of Postgres."
  type        = string
  default     = "18"
}

variable "instance_class" {
  description = "The machine, as db.t4g.medium."
  type        = string
}

variable "gigabytes" {
  description = "Of the volume, which grows up to four times that."
  type        = number
}

variable "is_multi_az" {
  description = "Is there a standby in another zone?"
  type        = bool
}

variable "is_protected" {
  description = "Can it not be deleted?"
  type        = bool
}

variable "keeps_last_snapshot" {
  description = "Does its end leave a snapshot?"
  type        = bool
}

variable "backup_days" {
  description = "Days to whose every moment it can be restored."
  type        = number
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}

variable "authority_file" {
  description = "Where clients have the certificates of RDS' authority, as PEM."
  type        = string
}

variable "passwords_version" {
  description = "A higher number makes a new password at the next apply."
  type        = number
}
