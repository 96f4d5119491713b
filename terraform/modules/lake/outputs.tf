output "policy" {
  description = "What who publishes and builds marts must be allowed."
  value       = local.policy
}

output "settings" {
  description = "The settings of hub and Flink that say where the log's copy is."
  value = {
    INSIGHTS_EXTERNAL_LAKE        = "s3://${module.bucket.id}/log"
    INSIGHTS_EXTERNAL_LAKE_REGION = var.region
  }
}

output "log" {
  description = "The bucket, and the folder in it, of the log's copy."
  value = {
    bucket_arn = module.bucket.arn
    prefix     = "log"
  }
}

output "published" {
  description = "The settings of the hub that say where tables are published, and the variables of dbt's target `prod`."
  value = {
    INSIGHTS_GLUE_WAREHOUSE   = "s3://${module.bucket.id}/published"
    INSIGHTS_GLUE_REGION      = var.region
    INSIGHTS_ATHENA_REGION    = var.region
    INSIGHTS_ATHENA_WORKGROUP = aws_athena_workgroup.this.name
    INSIGHTS_ATHENA_STAGING   = "s3://${module.bucket.id}/staging/"
    INSIGHTS_ATHENA_DATA      = "s3://${module.bucket.id}/marts/"
  }
}
