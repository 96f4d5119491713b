output "security_group_id" {
  description = "The task's."
  value       = aws_security_group.this.id
}

output "task_role_arn" {
  description = "The role that the task has."
  value       = aws_iam_role.task.arn
}

output "cluster_name" {
  description = "As ECS and CloudWatch know it."
  value       = aws_ecs_cluster.this.name
}

output "service_name" {
  description = "The same of the service."
  value       = aws_ecs_service.this.name
}
