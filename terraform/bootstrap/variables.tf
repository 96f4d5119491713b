variable "region" {
  description = "AWS region."
  type        = string
}

variable "github_repository" {
  description = "Whose GitHub Actions may push images and plan, as its tokens name it: owner/name, or owner@1/name@2 with GitHub's ids. Null: nobody's."
  type        = string
  default     = null
  validation {
    condition     = var.github_repository == null || can(regex("^[\\w.-]+(@\\d+)?/[\\w.-]+(@\\d+)?$", var.github_repository))
    error_message = "github_repository should be owner/name, or owner@1/name@2."
  }
}

variable "github_environment" {
  description = "Whose jobs on GitHub may roll out the hub in this account: dev or prod, as the workspace of terraform/."
  type        = string
  default     = "dev"
  validation {
    condition     = contains(["dev", "prod"], var.github_environment)
    error_message = "github_environment should be dev or prod."
  }
}
