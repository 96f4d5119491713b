# Two sets of rights: what a job may do, and what the hub may do to run it.

resource "aws_iam_role" "this" {
  name = "${var.name}-replays"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "emr-serverless.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = var.account_id }
        ArnEquals    = { "aws:SourceArn" = aws_emrserverless_application.this.arn }
      }
    }]
  })
}

# A replay writes to its own folder alone. Kafka and Postgres know it by passwords, which are in its task.
resource "aws_iam_role_policy" "this" {
  name = "files-and-lake"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Bucket"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = module.bucket.arn
      },
      {
        Sid      = "Files"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = ["${module.bucket.arn}/files/*", "${module.bucket.arn}/replays/*"]
      },
      {
        Sid      = "ResultsAndLogs"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
        Resource = "${module.bucket.arn}/replays/*"
      },
      {
        Sid       = "Lake"
        Effect    = "Allow"
        Action    = "s3:ListBucket"
        Resource  = var.lake.bucket_arn
        Condition = { StringLike = { "s3:prefix" = "${var.lake.prefix}/*" } }
      },
      {
        Sid      = "LakesFiles"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = "${var.lake.bucket_arn}/${var.lake.prefix}/*"
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}

locals {
  of_hub = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Submit"
        Effect   = "Allow"
        Action   = "emr-serverless:StartJobRun"
        Resource = aws_emrserverless_application.this.arn
      },
      {
        Sid      = "Watch"
        Effect   = "Allow"
        Action   = ["emr-serverless:GetJobRun", "emr-serverless:CancelJobRun"]
        Resource = "${aws_emrserverless_application.this.arn}/jobruns/*"
      },
      {
        Sid       = "AsItsRole"
        Effect    = "Allow"
        Action    = "iam:PassRole"
        Resource  = aws_iam_role.this.arn
        Condition = { StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" } }
      },
      {
        Sid      = "Bucket"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = module.bucket.arn
      },
      {
        Sid      = "Files"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject"]
        Resource = ["${module.bucket.arn}/files/*", "${module.bucket.arn}/replays/*"]
      },
      {
        Sid       = "Key"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
      },
    ]
  })
}
