output "secret_arn" {
  description = "The secret that is the address, with user and password."
  value       = aws_secretsmanager_secret.this.arn
}

output "security_group_id" {
  description = "Postgres'."
  value       = aws_security_group.this.id
}

output "identifier" {
  description = "As CloudWatch knows it."
  value       = aws_db_instance.this.identifier
}
