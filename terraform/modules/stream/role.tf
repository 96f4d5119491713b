# What the live job may do. Kafka and Postgres know it by passwords, which are in its secret.

locals {
  network_interfaces = "arn:aws:ec2:${var.region}:${var.account_id}:network-interface/*"
  in_its_subnets = {
    ArnEquals = {
      "ec2:Subnet" = [for id in var.subnet_ids : "arn:aws:ec2:${var.region}:${var.account_id}:subnet/${id}"]
    }
  }
}

resource "aws_iam_role" "this" {
  name = "${var.name}-live-job"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "kinesisanalytics.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnEquals    = { "aws:SourceArn" = local.application_arn }
      }
    }]
  })
}

resource "aws_iam_role_policy" "data" {
  name = "package-lake-and-log"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Package"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = "${module.bucket.arn}/live-job/*"
      },
      {
        Sid       = "Lake"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = var.lake.bucket_arn
        Condition = { StringLike = { "s3:prefix" = "${var.lake.prefix}/*" } }
      },
      {
        Sid    = "LakesFiles"
        Effect = "Allow"
        Action = [
          "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
        ]
        Resource = "${var.lake.bucket_arn}/${var.lake.prefix}/*"
      },
      {
        Sid      = "Passwords"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.this.arn
      },
      {
        Sid      = "Key"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.key_arn
        Condition = {
          StringEquals = {
            "kms:ViaService" = [for of in ["s3", "secretsmanager"] : "${of}.${var.region}.amazonaws.com"]
          }
        }
      },
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = "logs:PutLogEvents"
        Resource = aws_cloudwatch_log_stream.this.arn
      },
      {
        Sid      = "LogsStreams"
        Effect   = "Allow"
        Action   = "logs:DescribeLogStreams"
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        Sid      = "LogGroups" # of all names: AWS takes nothing narrower
        Effect   = "Allow"
        Action   = "logs:DescribeLogGroups"
        Resource = "arn:aws:logs:${var.region}:${var.account_id}:log-group:*"
      },
    ]
  })
}

# The service puts a network interface in each subnet as this role.
resource "aws_iam_role_policy" "network" {
  name = "network-interfaces"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "ec2:DescribeDhcpOptions", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups",
          "ec2:DescribeSubnets", "ec2:DescribeVpcs",
        ]
        Resource = "*" # they have no resource: AWS takes nothing else
      },
      {
        Sid    = "Make"
        Effect = "Allow"
        Action = "ec2:CreateNetworkInterface"
        Resource = concat(
          [local.network_interfaces, aws_security_group.this.arn],
          local.in_its_subnets.ArnEquals["ec2:Subnet"],
        )
      },
      {
        Sid       = "UseAndRemove"
        Effect    = "Allow"
        Action    = ["ec2:CreateNetworkInterfacePermission", "ec2:DeleteNetworkInterface"]
        Resource  = local.network_interfaces
        Condition = local.in_its_subnets
      },
    ]
  })
}

locals {
  of_hub = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "State"
        Effect   = "Allow"
        Action   = "kinesisanalytics:DescribeApplication"
        Resource = local.application_arn
      },
      {
        Sid      = "Definitions"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${module.bucket.arn}/live-job/*"
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = var.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}
