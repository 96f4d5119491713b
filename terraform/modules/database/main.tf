# Postgres: what people read, the registry's versions, and the lake's catalog. The hub makes the databases in it.

locals {
  logs = toset(["postgresql", "upgrade"])
}

resource "aws_security_group" "this" {
  name        = "${var.name}-database"
  description = "Postgres"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each                     = var.clients
  security_group_id            = aws_security_group.this.id
  description                  = "From ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name   = var.name
  family = "postgres18"
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }
  parameter {
    name  = "log_min_duration_statement"
    value = "1000"
  }
  parameter {
    name  = "log_statement"
    value = "ddl"
  }
}

resource "aws_iam_role" "monitoring" {
  name = "${var.name}-database-monitoring"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_161:the system logs in with a password over TLS; a second way in would be used by nobody
  identifier     = var.name
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class
  db_name        = "insights"
  username       = "insights"

  password_wo         = ephemeral.aws_secretsmanager_random_password.this.random_password
  password_wo_version = var.passwords_version

  storage_type          = "gp3"
  allocated_storage     = var.gigabytes
  max_allocated_storage = 4 * var.gigabytes
  storage_encrypted     = true
  kms_key_id            = var.key_arn

  multi_az               = var.is_multi_az
  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [aws_security_group.this.id]
  publicly_accessible    = false
  parameter_group_name   = aws_db_parameter_group.this.name
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  backup_retention_period         = var.backup_days
  copy_tags_to_snapshot           = true
  deletion_protection             = var.is_protected
  skip_final_snapshot             = !var.keeps_last_snapshot
  final_snapshot_identifier       = "${var.name}-last-${substr(md5(var.key_arn), 0, 8)}" # a system of this name may end twice
  auto_minor_version_upgrade      = true
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.monitoring.arn
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.key_arn
  enabled_cloudwatch_logs_exports = local.logs

  depends_on = [aws_cloudwatch_log_group.this]
}

# RDS writes to groups of these names, and makes those that are missing, which then keep everything for ever.
resource "aws_cloudwatch_log_group" "this" {
  for_each          = local.logs
  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

# Nothing keeps it: it goes from here into Postgres and into the secret, and into no state.
ephemeral "aws_secretsmanager_random_password" "this" {
  password_length     = 40
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:the hub reads it when it starts; a higher passwords_version and a restart make a new one
  name                    = "${var.name}/postgres"
  description             = "Postgres' address, with user and password, as INSIGHTS_EXTERNAL_POSTGRES takes it"
  kms_key_id              = var.key_arn
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "this" {
  secret_id = aws_secretsmanager_secret.this.id
  secret_string_wo = format(
    "postgresql://%s:%s@%s/%s?sslmode=verify-full&sslrootcert=%s",
    aws_db_instance.this.username,
    ephemeral.aws_secretsmanager_random_password.this.random_password,
    aws_db_instance.this.endpoint,
    aws_db_instance.this.db_name,
    var.authority_file,
  )
  secret_string_wo_version = var.passwords_version
}
