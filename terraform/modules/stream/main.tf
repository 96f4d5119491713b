# What the live job needs on Managed Service for Apache Flink. The application itself is made by `insights deploy apply`,
# when its code is in the bucket (docs/deploy.md).

locals {
  application     = "${var.name}-live"
  application_arn = "arn:aws:kinesisanalytics:${var.region}:${var.account_id}:application/${local.application}"

  target = {
    application     = local.application
    region          = var.region
    bucket          = "s3://${module.bucket.id}"
    role            = aws_iam_role.this.arn
    secret          = aws_secretsmanager_secret.this.arn
    subnets         = var.subnet_ids
    security_groups = [aws_security_group.this.id]
    log_stream      = aws_cloudwatch_log_stream.this.arn
  }
}

module "bucket" {
  source  = "../bucket"
  name    = "${var.name}-${var.account_id}-live-job"
  key_arn = var.key_arn
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/insights/${var.name}/live-job"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

resource "aws_cloudwatch_log_stream" "this" {
  name           = "live-job"
  log_group_name = aws_cloudwatch_log_group.this.name
}

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:`insights deploy apply` writes what is in it, and again when a password is another
  name                    = "${var.name}/live-job"
  description             = "The live job's passwords, as insights deploy writes them"
  kms_key_id              = var.key_arn
  recovery_window_in_days = 7
}

resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:the application has it, which `insights deploy apply` makes
  name        = "${var.name}-live-job"
  description = "The live job on Managed Service for Apache Flink"
  vpc_id      = var.vpc_id
}

# Nobody connects to it: its parts reach each other in the service's own network.
resource "aws_vpc_security_group_egress_rule" "servers" {
  for_each                     = var.servers
  security_group_id            = aws_security_group.this.id
  description                  = "To ${each.key}"
  referenced_security_group_id = each.value.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "aws" {
  security_group_id = aws_security_group.this.id
  description       = "S3 and Secrets Manager, by their addresses in the network where they have one"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
