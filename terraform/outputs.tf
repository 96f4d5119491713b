output "page" {
  description = "Where DNS should point for the page's host name."
  value       = module.page.address
}

output "user_pool_id" {
  description = "Where viewers are made: aws cognito-idp admin-create-user."
  value       = module.page.user_pool_id
}

output "cluster" {
  description = "For aws ecs execute-command --container hub."
  value       = module.hub.cluster_name
}
