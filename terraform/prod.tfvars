# The shop's system. What is yours (domain, viewers, ...) is in own.auto.tfvars: docs/aws.md.
is_protected             = true
keeps_last_snapshot      = true
cidr                     = "10.41.0.0/20"
zones                    = ["a", "b", "c"]
endpoints                = ["ecr.api", "ecr.dkr", "logs", "secretsmanager", "ssmmessages"]
kafka_instance_type      = "kafka.m7g.large"
kafka_gigabytes          = 250
database_instance_class  = "db.m7g.large"
database_gigabytes       = 100
hub_cpu                  = 4096
hub_memory               = 16384
jobmanager_memory_mb     = 1536
taskmanager_memory_mb    = 8192
parallelism              = 1
most_gigabytes_per_query = 200
dollars_a_month          = 2500
log_days                 = 365
