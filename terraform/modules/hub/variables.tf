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

variable "images" {
  description = "Addresses of the images, with a tag or a digest: what docker/Dockerfile builds."
  type = object({
    hub   = string
    flink = string
    kafka = string
  })
}

variable "repository_arns" {
  description = "Where the images are."
  type        = list(string)
}

variable "cpu" {
  description = "Of the task, in thousandths of a vCPU (1024 are one)."
  type        = number
}

variable "memory" {
  description = "Of the task, in MiB."
  type        = number
}

variable "jobmanager_memory_mb" {
  description = "Of Flink's half that plans."
  type        = number
}

variable "taskmanager_memory_mb" {
  description = "Of Flink's half that computes."
  type        = number
}

variable "parallelism" {
  description = "Of the live job."
  type        = number
}

variable "scratch_gigabytes" {
  description = "Disk of the task, which it loses with its end: RocksDB's working files are on it."
  type        = number
  default     = 50
}

variable "page_port" {
  description = "Where the page listens."
  type        = number
}

variable "page_security_group_id" {
  description = "The load balancer's."
  type        = string
}

variable "registry_clients" {
  description = "Who may ask the registry from outside of the task: the security group of each."
  type        = map(string)
}

variable "target_group_arn" {
  description = "Where the load balancer looks for the page."
  type        = string
}

variable "servers" {
  description = "Whom the task connects to: their security groups and ports."
  type = map(object({
    security_group_id = string
    port              = number
  }))
}

variable "kafka" {
  description = "host:port of every broker, with commas between them."
  type        = string
}

variable "kafka_user" {
  description = "The name to log in to Kafka with."
  type        = string
}

variable "kafka_secret_arn" {
  description = "The secret that has Kafka's `password`."
  type        = string
}

variable "postgres_secret_arn" {
  description = "The secret that is Postgres' address, with user and password."
  type        = string
}

variable "authority" {
  description = "Certificates of RDS' authority, as PEM."
  type        = string
}

variable "authority_file" {
  description = "Where the containers have them."
  type        = string
}

variable "file_system_id" {
  description = "The file system."
  type        = string
}

variable "access_point_ids" {
  description = "Where hub and snapshots are in it."
  type        = map(string)
}

variable "lake" {
  description = "Where the lake is, as the settings that name it, and what the task must be allowed for it."
  type = object({
    policy   = string
    settings = map(string)
  })
}

variable "stream" {
  description = "Null where the task runs the live job. Where it is elsewhere: the settings that say so, and what to allow."
  type = object({
    policy   = string
    settings = map(string)
  })
}

variable "replays_policy" {
  description = "What the task must be allowed to run replays on EMR Serverless."
  type        = string
}

variable "settings" {
  description = "Further settings of the hub, as INSIGHTS_CURRENCY."
  type        = map(string)
}

variable "secrets" {
  description = "Further settings of the hub that are secret: the ARN of each, encrypted with this system's key or AWS' own."
  type        = map(string)
}

variable "key_arn" {
  description = "The KMS key of logs and secrets."
  type        = string
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
