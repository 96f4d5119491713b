variable "region" {
  description = "AWS region."
  type        = string
}
