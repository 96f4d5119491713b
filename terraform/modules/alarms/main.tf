# Alarms about the servers, and a budget. What is wrong with the data the hub itself notices: docs/alerts.md.

locals {
  alarms = {
    hub-is-gone = {
      says       = "The page's load balancer finds no hub that answers"
      namespace  = "AWS/ApplicationELB"
      metric     = "HealthyHostCount"
      statistic  = "Minimum"
      below      = 1
      dimensions = { LoadBalancer = var.load_balancer, TargetGroup = var.target_group }
    }
    hub-memory = {
      says       = "The hub's task uses over 90 % of its memory"
      namespace  = "AWS/ECS"
      metric     = "MemoryUtilization"
      statistic  = "Average"
      above      = 90
      dimensions = { ClusterName = var.ecs_cluster, ServiceName = var.ecs_service }
    }
    kafka-offline = {
      says       = "Partitions of Kafka have no leader"
      namespace  = "AWS/Kafka"
      metric     = "OfflinePartitionsCount"
      statistic  = "Maximum"
      above      = 0
      dimensions = { "Cluster Name" = var.kafka_cluster }
    }
    postgres-disk = {
      says       = "Postgres has less than 5 GB left"
      namespace  = "AWS/RDS"
      metric     = "FreeStorageSpace"
      statistic  = "Minimum"
      below      = 5000000000
      dimensions = { DBInstanceIdentifier = var.database }
    }
    postgres-cpu = {
      says       = "Postgres' processors are over 90 % busy"
      namespace  = "AWS/RDS"
      metric     = "CPUUtilization"
      statistic  = "Average"
      above      = 90
      dimensions = { DBInstanceIdentifier = var.database }
    }
  }

  # CloudWatch has a broker's disk by its number alone.
  disks = {
    for broker in range(1, var.kafka_brokers + 1) : "kafka-disk-${broker}" => {
      says       = "The volume of broker ${broker} is over 75 % full"
      namespace  = "AWS/Kafka"
      metric     = "KafkaDataLogsDiskUsed"
      statistic  = "Maximum"
      above      = 75
      dimensions = { "Cluster Name" = var.kafka_cluster, "Broker ID" = tostring(broker) }
    }
  }
}

resource "aws_sns_topic" "this" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.key_arn
}

resource "aws_sns_topic_subscription" "email" {
  for_each  = var.emails
  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.value
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = merge(local.alarms, local.disks)
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  dimensions          = each.value.dimensions
  comparison_operator = can(each.value.above) ? "GreaterThanThreshold" : "LessThanThreshold"
  threshold           = can(each.value.above) ? each.value.above : each.value.below
  period              = 60
  evaluation_periods  = 5
  treat_missing_data  = each.key == "hub-is-gone" ? "breaching" : "missing"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

resource "aws_budgets_budget" "this" {
  name         = var.name
  budget_type  = "COST"
  time_unit    = "MONTHLY"
  limit_amount = tostring(var.dollars_a_month)
  limit_unit   = "USD"

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }
    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = notification.key
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = var.emails
    }
  }
}
