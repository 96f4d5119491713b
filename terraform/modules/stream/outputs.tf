output "security_group_id" {
  description = "The live job's."
  value       = aws_security_group.this.id
}

output "target" {
  description = "What INSIGHTS_DEPLOY_STREAM holds, as JSON: tests/test_terraform.py holds the fields to it."
  value = {
    application     = local.application
    region          = var.region
    bucket          = "s3://${module.bucket.id}"
    role            = aws_iam_role.this.arn
    secret          = aws_secretsmanager_secret.this.arn
    subnets         = var.subnet_ids
    security_groups = [aws_security_group.this.id]
    log_stream      = aws_cloudwatch_log_stream.this.arn
  }
}
