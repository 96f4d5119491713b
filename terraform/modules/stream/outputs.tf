output "security_group_id" {
  description = "The live job's."
  value       = aws_security_group.this.id
}

output "target" {
  description = "What INSIGHTS_DEPLOY_STREAM holds, as JSON: tests/test_terraform.py holds the fields to it."
  value       = local.target
}

output "settings" {
  description = "The setting of a hub whose live job runs here."
  value       = { INSIGHTS_DEPLOY_STREAM = jsonencode(local.target) }
}

output "policy" {
  description = "What that hub must be allowed: to see how the application is, and what it computes."
  value       = local.of_hub
}
