# Who GitHub Actions are here, where a repository is named: they push images, and compare terraform/ with the state, on
# the branch main alone. They change nothing else, and see no secret but those that the state has.

locals {
  github      = toset(var.github_repository == null ? [] : [var.github_repository])
  github_host = "token.actions.githubusercontent.com"
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
      {
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage",
          "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage",
        ]
        Resource = [for repository in aws_ecr_repository.this : repository.arn]
      },
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
