# Who GitHub Actions are here, where a repository is named. On the branch main they push images, and compare terraform/
# with the state; in this account's environment they push images, and roll out the hub's. They change nothing else, and
# see no secret but those that the state has.

locals {
  github      = toset(var.github_repository == null ? [] : [var.github_repository])
  github_host = "token.actions.githubusercontent.com"
  may_push = {
    Effect = "Allow"
    Action = [
      "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage",
      "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage",
    ]
    Resource = [for repository in aws_ecr_repository.this : repository.arn]
  }
  ours = "${var.region}:${data.aws_caller_identity.this.account_id}"
}

resource "aws_iam_openid_connect_provider" "github" {
  for_each       = local.github
  url            = "https://${local.github_host}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "github" {
  for_each = local.github
  name     = "insights-github"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github[each.key].arn }
      Condition = { StringEquals = {
        "${local.github_host}:aud" = "sts.amazonaws.com"
        "${local.github_host}:sub" = "repo:${each.key}:ref:refs/heads/main"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "github" {
  for_each = local.github
  name     = "push-and-plan"
  role     = aws_iam_role.github[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken", "secretsmanager:GetRandomPassword"]
        Resource = "*" # they are of no resource: AWS takes nothing else
      },
      local.may_push,
      {
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:GetObject"]
        Resource = [aws_s3_bucket.state.arn, "${aws_s3_bucket.state.arn}/*"]
      },
      {
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.this.arn
      },
    ]
  })
}

resource "aws_iam_role" "deploy" {
  for_each             = local.github
  name                 = "insights-deploy"
  max_session_duration = 7200
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = aws_iam_openid_connect_provider.github[each.key].arn }
      Condition = { StringEquals = {
        "${local.github_host}:aud" = "sts.amazonaws.com"
        # GitHub gives this name to jobs alone that the environment's rules let in.
        "${local.github_host}:sub" = "repo:${each.key}:environment:${var.github_environment}"
      } }
    }]
  })
}

resource "aws_iam_role_policy" "deploy" {
  for_each = local.github
  name     = "push-and-roll-out"
  role     = aws_iam_role.deploy[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", "ecs:RegisterTaskDefinition"]
        Resource = "*" # they are of no resource; what a task may do is up to the roles that may be passed, below
      },
      local.may_push,
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeServices", "ecs:UpdateService"]
        Resource = "arn:aws:ecs:${local.ours}:service/insights-${var.github_environment}/hub"
      },
      {
        Effect   = "Allow"
        Action   = "ecs:TagResource"
        Resource = "arn:aws:ecs:${local.ours}:task-definition/insights-${var.github_environment}-hub:*"
      },
      {
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = [for role in ["execution", "task"] : "arn:aws:iam::${data.aws_caller_identity.this.account_id}:role/insights-${var.github_environment}-hub-${role}"]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
  })
}
