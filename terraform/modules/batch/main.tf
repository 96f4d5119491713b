# Replays on EMR Serverless: an application that is stopped while nothing runs, in the private subnets, and a bucket for
# the jobs' files, logs and results. Jobs are submitted by the hub (docs/emr.md).

locals {
  # A driver and its executors have 4 vCPU, 16 GB and 20 GB of disk each: spark/emr.py.
  workers = 1 + var.most_executors
}

module "bucket" {
  source         = "../bucket"
  name           = "${var.name}-${var.account_id}-replays"
  key_arn        = var.key_arn
  days_by_prefix = { "replays/" = 30 }
}

resource "aws_emrserverless_application" "this" {
  name          = "${var.name}-replays"
  type          = "spark"
  release_label = var.release_label
  architecture  = "X86_64"

  # All jobs together: what more is asked for waits, or is refused.
  maximum_capacity {
    cpu    = "${4 * local.workers} vCPU"
    memory = "${16 * local.workers} GB"
    disk   = "${20 * local.workers} GB"
  }

  auto_start_configuration {
    enabled = true
  }

  auto_stop_configuration {
    enabled              = true
    idle_timeout_minutes = 5
  }

  # A job writes its logs to the bucket, with our key. AWS' own copy would be encrypted with a key of its own.
  monitoring_configuration {
    managed_persistence_monitoring_configuration {
      enabled = false
    }
  }

  network_configuration {
    subnet_ids         = var.subnet_ids
    security_group_ids = [aws_security_group.this.id]
  }
}

resource "aws_security_group" "this" {
  #checkov:skip=CKV2_AWS_5:the application above has it, which checkov does not know of
  name        = "${var.name}-replays"
  description = "Replays on EMR Serverless"
  vpc_id      = var.vpc_id
}

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
  description       = "S3 and KMS, by their addresses in the network where they have one"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
