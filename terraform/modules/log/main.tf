# The log: Kafka as MSK runs it, reached by TLS and SCRAM-SHA-512. Topics come from the contracts, when the hub starts.

locals {
  brokers = length(var.subnet_ids)
}

resource "aws_security_group" "this" {
  name        = "${var.name}-log"
  description = "Kafka's brokers"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each                     = var.clients
  security_group_id            = aws_security_group.this.id
  description                  = "SASL_SSL with SCRAM, from ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 9096
  to_port                      = 9096
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/insights/${var.name}/kafka"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

resource "aws_msk_configuration" "this" {
  name           = "${var.name}-log"
  kafka_versions = [var.kafka_version]
  server_properties = join("\n", [
    "auto.create.topics.enable=false",
    "default.replication.factor=${local.brokers}",
    "min.insync.replicas=${local.brokers - 1}",
    "unclean.leader.election.enable=false",
  ])
}

resource "aws_msk_cluster" "this" {
  cluster_name           = var.name
  kafka_version          = var.kafka_version
  number_of_broker_nodes = local.brokers
  enhanced_monitoring    = "DEFAULT" # it has what the alarms read, and costs nothing

  broker_node_group_info {
    instance_type   = var.instance_type
    client_subnets  = var.subnet_ids
    security_groups = [aws_security_group.this.id]
    storage_info {
      ebs_storage_info {
        volume_size = var.gigabytes
      }
    }
  }

  configuration_info {
    arn      = aws_msk_configuration.this.arn
    revision = aws_msk_configuration.this.latest_revision
  }

  client_authentication {
    sasl {
      scram = true
    }
  }

  encryption_info {
    encryption_at_rest_kms_key_arn = var.key_arn
    encryption_in_transit {
      client_broker = "TLS"
      in_cluster    = true
    }
  }

  logging_info {
    broker_logs {
      cloudwatch_logs {
        enabled   = true
        log_group = aws_cloudwatch_log_group.this.name
      }
    }
  }
}

ephemeral "aws_secretsmanager_random_password" "this" {
  password_length     = 40
  exclude_punctuation = true
}

# MSK reads only secrets whose names begin like this.
resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:the hub reads it when it starts; a higher passwords_version and a restart make a new one
  name                    = "AmazonMSK_${var.name}"
  description             = "Who the hub is to Kafka"
  kms_key_id              = var.key_arn
  recovery_window_in_days = 7
}

resource "aws_secretsmanager_secret_version" "this" {
  secret_id = aws_secretsmanager_secret.this.id
  secret_string_wo = jsonencode({
    username = var.user
    password = ephemeral.aws_secretsmanager_random_password.this.random_password
  })
  secret_string_wo_version = var.passwords_version
}

resource "aws_secretsmanager_secret_policy" "this" {
  secret_arn = aws_secretsmanager_secret.this.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "secretsmanager:GetSecretValue"
      Principal = { Service = "kafka.amazonaws.com" }
      Resource  = aws_secretsmanager_secret.this.arn
    }]
  })
}

resource "aws_msk_scram_secret_association" "this" {
  cluster_arn     = aws_msk_cluster.this.arn
  secret_arn_list = [aws_secretsmanager_secret.this.arn]
  depends_on      = [aws_secretsmanager_secret_version.this, aws_secretsmanager_secret_policy.this]
}
