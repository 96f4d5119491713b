variable "name" {
  description = "What everything is named after."
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
  description = "Public subnets."
  type        = list(string)
}

variable "hub_security_group_id" {
  description = "The hub's."
  type        = string
}

variable "page_port" {
  description = "Where the page listens."
  type        = number
}

variable "domain" {
  description = "The page's own host name, which your DNS points to the load balancer."
  type        = string
}

variable "login_domain" {
  description = "The first part of Cognito's host name, which nobody else in the region may have."
  type        = string
}

variable "certificate_arn" {
  description = "A certificate of ACM for the host name."
  type        = string
}

variable "viewers" {
  description = "Networks that may see the login, as 203.0.113.0/24."
  type        = set(string)
  validation {
    condition     = alltrue([for cidr in var.viewers : tonumber(split("/", cidr)[1]) >= 8])
    error_message = "Each of viewers should be a network of yours, of /8 or smaller: the page is not for the whole internet."
  }
}

variable "is_protected" {
  description = "Can it not be deleted?"
  type        = bool
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
