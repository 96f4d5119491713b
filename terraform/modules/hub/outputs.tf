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

output "registry" {
  description = "The registry's address within the network, as INSIGHTS_EXTERNAL_REGISTRY."
  value       = "http://${local.registry_host}:${local.ports.registry}/apis/ccompat/v7"
}

output "registry_port" {
  description = "Where it listens."
  value       = local.ports.registry
}

output "target" {
  description = "What INSIGHTS_DEPLOY_SERVICE holds, as JSON: tests/test_terraform.py holds the fields to it."
  value = {
    cluster = aws_ecs_cluster.this.name
    service = aws_ecs_service.this.name
    region  = var.region
  }
}
