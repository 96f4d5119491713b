# Two roles: one with which ECS starts the task, and one that the task itself has.

locals {
  by_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
  secret_arns = concat([var.kafka_secret_arn, var.postgres_secret_arn], values(var.secrets))
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-hub-execution"
  assume_role_policy = local.by_tasks
}

resource "aws_iam_role_policy" "execution" {
  name = "start-the-task"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = var.repository_arns
      },
      {
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*" # it is of no repository: AWS takes nothing else
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = local.secret_arns
      },
      {
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = var.key_arn
      },
    ]
  })
}

resource "aws_iam_role" "task" {
  name               = "${var.name}-hub-task"
  assume_role_policy = local.by_tasks
}

resource "aws_iam_role_policy" "sessions" {
  name = "sessions"
  role = aws_iam_role.task.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect = "Allow"
        Action = [
          "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
        ]
        Resource = "*" # they have no resource: AWS takes nothing else
      },
      {
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.sessions.arn}:*"
      },
      {
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.key_arn
      },
    ]
  })
}

resource "aws_iam_role_policy" "lake" {
  name   = "lake"
  role   = aws_iam_role.task.id
  policy = var.lake.policy
}

resource "aws_iam_role_policy" "replays" {
  name   = "replays"
  role   = aws_iam_role.task.id
  policy = var.replays_policy
}

resource "aws_iam_role_policy" "stream" {
  count  = var.stream == null ? 0 : 1
  name   = "live-job"
  role   = aws_iam_role.task.id
  policy = var.stream.policy
}
