# The system itself: one task of Fargate, whose containers are those of compose.yaml and reach each other on loopback.
#
# One task, because Flink has no login: in one task its interface, which shows the password of Kafka, is on no network.
# The containers are in containers.tf, and who may do what is in roles.tf.

locals {
  prefix = "/insights/${var.name}"
}

resource "aws_security_group" "this" {
  name        = "${var.name}-hub"
  description = "The hub's task"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "page" {
  security_group_id            = aws_security_group.this.id
  description                  = "The page, from its load balancer"
  referenced_security_group_id = var.page_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = var.page_port
  to_port                      = var.page_port
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

resource "aws_vpc_security_group_egress_rule" "internet" {
  security_group_id = aws_security_group.this.id
  description       = "AWS services, APIs of connected shops, rates between currencies"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "${local.prefix}/hub"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

resource "aws_cloudwatch_log_group" "sessions" {
  name              = "${local.prefix}/sessions"
  retention_in_days = var.log_days
  kms_key_id        = var.key_arn
}

resource "aws_ecs_cluster" "this" {
  name = var.name
  setting {
    name  = "containerInsights"
    value = "enabled"
  }
  configuration {
    execute_command_configuration {
      kms_key_id = var.key_arn
      logging    = "OVERRIDE"
      log_configuration {
        cloud_watch_encryption_enabled = true
        cloud_watch_log_group_name     = aws_cloudwatch_log_group.sessions.name
      }
    }
  }
}

resource "aws_ecs_task_definition" "this" {
  family                   = "${var.name}-hub"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode(local.containers)

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = "X86_64"
  }

  ephemeral_storage {
    size_in_gib = var.scratch_gigabytes
  }

  dynamic "volume" {
    for_each = local.scratch
    content {
      name = volume.value
    }
  }

  dynamic "volume" {
    for_each = var.access_point_ids
    content {
      name = volume.key
      efs_volume_configuration {
        file_system_id     = var.file_system_id
        transit_encryption = "ENABLED"
        authorization_config {
          access_point_id = volume.value
          iam             = "ENABLED"
        }
      }
    }
  }
}

resource "aws_ecs_service" "this" {
  name                   = "hub"
  cluster                = aws_ecs_cluster.this.id
  task_definition        = aws_ecs_task_definition.this.arn
  desired_count          = 1
  launch_type            = "FARGATE"
  platform_version       = "LATEST"
  enable_execute_command = true
  propagate_tags         = "SERVICE"

  # Never two: they would be two live jobs that write the same tables. The old one ends with a savepoint first.
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  availability_zone_rebalancing      = "DISABLED"
  health_check_grace_period_seconds  = 600

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.this.id]
    assign_public_ip = false
  }

  service_registries {
    registry_arn = aws_service_discovery_service.registry.arn
  }

  load_balancer {
    target_group_arn = var.target_group_arn
    container_name   = "hub"
    container_port   = var.page_port
  }
}
