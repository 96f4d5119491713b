variable "region" {
  description = "AWS region."
  type        = string
}

variable "release" {
  description = "The tag of the images to run."
  type        = string
}

variable "domain" {
  description = "The page's host name, which your DNS points to the output `page`."
  type        = string
}

variable "certificate_arn" {
  description = "A certificate of ACM for that host name."
  type        = string
}

variable "authority" {
  description = "A file: the certificates of RDS' authority in this region, as AWS publishes them."
  type        = string
}

variable "viewers" {
  description = "Networks that may see the page's login."
  type        = set(string)
}

variable "emails" {
  description = "Who hears of alarms, and of the budget."
  type        = set(string)
}

variable "dollars_a_month" {
  description = "The account's budget."
  type        = number
}

variable "settings" {
  description = "Further settings of the hub, as INSIGHTS_CURRENCY = \"USD\"."
  type        = map(string)
  default     = {}
}

variable "secrets" {
  description = "Further settings that are secret, as INSIGHTS_ALERT_SLACK_URL: the ARN of each in Secrets Manager."
  type        = map(string)
  default     = {}
}

variable "passwords_version" {
  description = "A higher number makes new passwords of Kafka and Postgres; restart the hub after it."
  type        = number
  default     = 1
}

variable "is_protected" {
  description = "Is Postgres doubled, backed up for long, and nothing deleted by mistake?"
  type        = bool
}

variable "keeps_last_snapshot" {
  description = "Does Postgres leave a snapshot when it is taken down?"
  type        = bool
}

variable "cidr" {
  description = "The network's addresses."
  type        = string
}

variable "zones" {
  description = "Letters of the availability zones to use, 2 or 3 of them."
  type        = list(string)
}

variable "endpoints" {
  description = "AWS services with a private address of their own."
  type        = set(string)
}

variable "kafka_instance_type" {
  description = "Of each broker, of which a zone has one."
  type        = string
}

variable "kafka_gigabytes" {
  description = "Of each broker's volume."
  type        = number
}

variable "database_instance_class" {
  description = "Of Postgres."
  type        = string
}

variable "database_gigabytes" {
  description = "Of Postgres' volume."
  type        = number
}

variable "hub_cpu" {
  description = "Of the hub's task: 1024 are a vCPU."
  type        = number
}

variable "hub_memory" {
  description = "Of the hub's task, in MiB, for all of its containers."
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

variable "is_stream_managed" {
  description = "Does the live job run on Managed Service for Apache Flink, and not in the hub's task? For a new system."
  type        = bool
}

variable "replay_executors" {
  description = "Of replays on EMR Serverless: at most so many at once, of 4 vCPU and 16 GB, beside the driver."
  type        = number
}

variable "most_gigabytes_per_query" {
  description = "A query of Athena that would read more is ended."
  type        = number
}

variable "log_days" {
  description = "Days that logs are kept."
  type        = number
}
