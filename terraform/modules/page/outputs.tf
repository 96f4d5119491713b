output "security_group_id" {
  description = "The load balancer's."
  value       = aws_security_group.this.id
}

output "target_group_arn" {
  description = "Where the load balancer looks for the page."
  value       = aws_lb_target_group.this.arn
  depends_on  = [aws_lb_listener.this] # ECS takes a target group only once a load balancer has it
}

output "address" {
  description = "Where DNS should point."
  value       = aws_lb.this.dns_name
}

output "metric_names" {
  description = "Load balancer and target group, as CloudWatch knows them."
  value = {
    load_balancer = aws_lb.this.arn_suffix
    target_group  = aws_lb_target_group.this.arn_suffix
  }
}

output "user_pool_id" {
  description = "Where viewers are made."
  value       = aws_cognito_user_pool.this.id
}
