# The lake in one bucket: the log's exact copy, what `insights lake publish` copies from Postgres, and dbt's marts.

locals {
  # Those that `insights lake publish` writes to, and dbt's; Glue knows them once an account and region.
  databases = ["events", "live", "ops", "staging", "intermediate", "marts", "snapshots"]
  catalog   = "arn:aws:glue:${var.region}:${var.account_id}"
}

module "bucket" {
  source         = "../bucket"
  name           = "${var.name}-${var.account_id}-lake"
  key_arn        = var.key_arn
  days_by_prefix = { "staging/" = 7 } # results of Athena's queries
}

moved {
  from = aws_s3_bucket.this
  to   = module.bucket.aws_s3_bucket.this
}

moved {
  from = aws_s3_bucket_public_access_block.this
  to   = module.bucket.aws_s3_bucket_public_access_block.this
}

moved {
  from = aws_s3_bucket_versioning.this
  to   = module.bucket.aws_s3_bucket_versioning.this
}

moved {
  from = aws_s3_bucket_server_side_encryption_configuration.this
  to   = module.bucket.aws_s3_bucket_server_side_encryption_configuration.this
}

moved {
  from = aws_s3_bucket_lifecycle_configuration.this
  to   = module.bucket.aws_s3_bucket_lifecycle_configuration.this
}

moved {
  from = aws_s3_bucket_policy.this
  to   = module.bucket.aws_s3_bucket_policy.this
}

resource "aws_glue_catalog_database" "this" {
  for_each = toset(local.databases)
  name     = each.key
}

resource "aws_athena_workgroup" "this" {
  name = var.name
  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.most_gigabytes_per_query * 1024 * 1024 * 1024
    result_configuration {
      output_location = "s3://${module.bucket.id}/staging/"
      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.key_arn
      }
    }
  }
}

locals {
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
        Resource = module.bucket.arn
      },
      {
        Effect = "Allow"
        Action = [
          "s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts",
        ]
        Resource = "${module.bucket.arn}/*"
      },
      {
        Effect = "Allow"
        Action = [
          "glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:GetTableVersions",
          "glue:CreateTable", "glue:UpdateTable", "glue:DeleteTable", "glue:BatchDeleteTableVersion",
          "glue:GetPartitions",
        ]
        Resource = concat(
          ["${local.catalog}:catalog"],
          [for name in local.databases : "${local.catalog}:database/${name}"],
          [for name in local.databases : "${local.catalog}:table/${name}/*"],
        )
      },
      {
        Effect = "Allow"
        Action = [
          "athena:GetWorkGroup", "athena:StartQueryExecution", "athena:StopQueryExecution", "athena:GetQueryExecution",
          "athena:GetQueryResults",
        ]
        Resource = aws_athena_workgroup.this.arn
      },
      {
        Effect   = "Allow"
        Action   = "athena:GetDataCatalog"
        Resource = "arn:aws:athena:${var.region}:${var.account_id}:datacatalog/AwsDataCatalog"
      },
      {
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.key_arn
      },
    ]
  })
}
