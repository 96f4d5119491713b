# Insights Hub on AWS. What it is, what it costs and how it is brought up: docs/aws.md.

data "aws_caller_identity" "this" {}

locals {
  name       = "insights-${terraform.workspace}"
  account_id = data.aws_caller_identity.this.account_id
  page_port  = 19501

  # In the containers: the first of them writes it.
  authority_file = "/run/authorities/postgres.pem"

  repositories = {
    for image in ["hub", "flink", "kafka"] : image => "insights-${image}"
  }
  registry = "${local.account_id}.dkr.ecr.${var.region}.amazonaws.com"

  of_stream = { for name, value in module.stream.settings : name => value if var.is_stream_managed }

  # Who connects to Kafka and Postgres.
  clients = {
    hub      = module.hub.security_group_id
    live-job = module.stream.security_group_id
    replays  = module.batch.security_group_id
  }
  kafka    = { security_group_id = module.log.security_group_id, port = 9096 }
  postgres = { security_group_id = module.database.security_group_id, port = 5432 }
}

module "network" {
  source    = "./modules/network"
  name      = local.name
  region    = var.region
  cidr      = var.cidr
  zones     = var.zones
  endpoints = var.endpoints
  key_arn   = aws_kms_key.this.arn
  log_days  = var.log_days
}

module "log" {
  source            = "./modules/log"
  name              = local.name
  vpc_id            = module.network.vpc_id
  subnet_ids        = module.network.private_subnet_ids
  clients           = local.clients
  key_arn           = aws_kms_key.this.arn
  instance_type     = var.kafka_instance_type
  gigabytes         = var.kafka_gigabytes
  passwords_version = var.passwords_version
  log_days          = var.log_days
}

module "database" {
  source              = "./modules/database"
  name                = local.name
  vpc_id              = module.network.vpc_id
  subnet_ids          = module.network.private_subnet_ids
  clients             = local.clients
  key_arn             = aws_kms_key.this.arn
  instance_class      = var.database_instance_class
  gigabytes           = var.database_gigabytes
  is_multi_az         = var.is_protected
  is_protected        = var.is_protected
  keeps_last_snapshot = var.keeps_last_snapshot
  backup_days         = var.is_protected ? 30 : 7
  authority_file      = local.authority_file
  passwords_version   = var.passwords_version
  log_days            = var.log_days
}

module "files" {
  source                   = "./modules/files"
  name                     = local.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_security_group_id = module.hub.security_group_id
  client_role_arn          = module.hub.task_role_arn
  key_arn                  = aws_kms_key.this.arn
}

module "lake" {
  source                   = "./modules/lake"
  name                     = local.name
  region                   = var.region
  account_id               = local.account_id
  key_arn                  = aws_kms_key.this.arn
  most_gigabytes_per_query = var.most_gigabytes_per_query
}

module "hub" {
  source     = "./modules/hub"
  name       = local.name
  region     = var.region
  account_id = local.account_id
  vpc_id     = module.network.vpc_id
  subnet_ids = module.network.private_subnet_ids

  images          = { for image, name in local.repositories : image => "${local.registry}/${name}:${var.release}" }
  repository_arns = [for name in local.repositories : "arn:aws:ecr:${var.region}:${local.account_id}:repository/${name}"]

  cpu                   = var.hub_cpu
  memory                = var.hub_memory
  jobmanager_memory_mb  = var.jobmanager_memory_mb
  taskmanager_memory_mb = var.taskmanager_memory_mb
  parallelism           = var.parallelism

  registry_clients = {
    live-job = module.stream.security_group_id
  }

  page_port              = local.page_port
  page_security_group_id = module.page.security_group_id
  target_group_arn       = module.page.target_group_arn

  kafka               = module.log.bootstrap
  kafka_user          = module.log.user
  kafka_secret_arn    = module.log.secret_arn
  postgres_secret_arn = module.database.secret_arn
  authority           = file(var.authority)
  authority_file      = local.authority_file
  file_system_id      = module.files.file_system_id
  access_point_ids    = module.files.access_point_ids
  lake                = { policy = module.lake.policy, settings = module.lake.settings }
  servers = {
    kafka    = local.kafka
    postgres = local.postgres
    files    = { security_group_id = module.files.security_group_id, port = 2049 }
  }

  stream         = var.is_stream_managed ? { policy = module.stream.policy, settings = local.of_stream } : null
  replays_policy = module.batch.policy

  settings = merge(module.lake.published, module.batch.settings, var.settings)
  secrets  = var.secrets
  key_arn  = aws_kms_key.this.arn
  log_days = var.log_days
}

module "stream" {
  source     = "./modules/stream"
  name       = local.name
  region     = var.region
  account_id = local.account_id
  vpc_id     = module.network.vpc_id
  subnet_ids = module.network.private_subnet_ids
  servers = {
    kafka    = local.kafka
    postgres = local.postgres
    registry = { security_group_id = module.hub.security_group_id, port = module.hub.registry_port }
  }
  lake     = module.lake.log
  key_arn  = aws_kms_key.this.arn
  log_days = var.log_days
}

module "batch" {
  source     = "./modules/batch"
  name       = local.name
  region     = var.region
  account_id = local.account_id
  vpc_id     = module.network.vpc_id
  subnet_ids = module.network.private_subnet_ids
  servers = {
    kafka    = local.kafka
    postgres = local.postgres
  }
  lake           = module.lake.log
  key_arn        = aws_kms_key.this.arn
  most_executors = var.replay_executors
}

module "page" {
  source                = "./modules/page"
  name                  = local.name
  account_id            = local.account_id
  vpc_id                = module.network.vpc_id
  subnet_ids            = module.network.public_subnet_ids
  hub_security_group_id = module.hub.security_group_id
  page_port             = local.page_port
  domain                = var.domain
  login_domain          = "${local.name}-${local.account_id}"
  certificate_arn       = var.certificate_arn
  viewers               = var.viewers
  is_protected          = var.is_protected
  log_days              = var.log_days
}

module "alarms" {
  source          = "./modules/alarms"
  name            = local.name
  key_arn         = aws_kms_key.this.arn
  emails          = var.emails
  dollars_a_month = var.dollars_a_month
  load_balancer   = module.page.metric_names.load_balancer
  target_group    = module.page.metric_names.target_group
  ecs_cluster     = module.hub.cluster_name
  ecs_service     = module.hub.service_name
  kafka_cluster   = module.log.cluster_name
  kafka_brokers   = length(var.zones)
  database        = module.database.identifier
}
