output "bootstrap" {
  description = "host:port of every broker, with commas between them."
  value       = aws_msk_cluster.this.bootstrap_brokers_sasl_scram
}

output "user" {
  description = "The name to log in with."
  value       = var.user
}

output "secret_arn" {
  description = "The secret with `username` and `password`."
  value       = aws_secretsmanager_secret.this.arn
}

output "security_group_id" {
  description = "The brokers'."
  value       = aws_security_group.this.id
}

output "cluster_name" {
  description = "As CloudWatch knows it."
  value       = aws_msk_cluster.this.cluster_name
}
