output "security_group_id" {
  description = "The jobs'."
  value       = aws_security_group.this.id
}

output "policy" {
  description = "What who runs replays must be allowed."
  value       = local.of_hub
}

output "settings" {
  description = "The settings of who runs replays with --engine emr."
  value = {
    INSIGHTS_EMR_APPLICATION   = aws_emrserverless_application.this.id
    INSIGHTS_EMR_ROLE          = aws_iam_role.this.arn
    INSIGHTS_EMR_BUCKET        = "s3://${module.bucket.id}"
    INSIGHTS_EMR_REGION        = var.region
    INSIGHTS_EMR_MAX_EXECUTORS = var.most_executors
  }
}
