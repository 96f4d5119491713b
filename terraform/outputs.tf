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

output "stream" {
  description = "INSIGHTS_DEPLOY_STREAM: where `insights deploy` puts the live job. Null where the hub's task runs it."
  value       = var.is_stream_managed ? jsonencode(module.stream.target) : null
}

output "service" {
  description = "INSIGHTS_DEPLOY_SERVICE: the hub, for `insights deploy`."
  value       = jsonencode(module.hub.target)
}

output "deploy_settings" {
  description = "All settings of `insights deploy`, as lines of .env. Of passwords they say where they are."
  value = join("", [
    for name, value in merge(var.settings, module.lake.settings, module.batch.settings, local.of_stream, {
      INSIGHTS_DEPLOY_SERVICE          = jsonencode(module.hub.target)
      INSIGHTS_EXTERNAL_KAFKA          = module.log.bootstrap
      INSIGHTS_EXTERNAL_KAFKA_USER     = module.log.user
      INSIGHTS_EXTERNAL_KAFKA_PASSWORD = "secretsmanager:${module.log.secret_arn}#password"
      INSIGHTS_EXTERNAL_POSTGRES       = "secretsmanager:${module.database.secret_arn}"
      INSIGHTS_EXTERNAL_REGISTRY       = module.hub.registry
      INSIGHTS_PARALLELISM             = var.parallelism
    }) : "${name}='${value}'\n"
  ])
}
