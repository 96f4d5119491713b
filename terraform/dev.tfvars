# A system to try things on. What is yours (domain, viewers, ...) is in own.auto.tfvars: docs/aws.md.
is_protected             = false
keeps_last_snapshot      = false
cidr                     = "10.40.0.0/20"
zones                    = ["a", "b"]
endpoints                = []
kafka_instance_type      = "kafka.t3.small"
kafka_gigabytes          = 50
database_instance_class  = "db.t4g.medium"
database_gigabytes       = 20
hub_cpu                  = 2048
hub_memory               = 8192
jobmanager_memory_mb     = 896
taskmanager_memory_mb    = 2048
parallelism              = 1
most_gigabytes_per_query = 10
dollars_a_month          = 500
log_days                 = 14
