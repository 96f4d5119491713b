# Files that outlive a task: the hub's own, and Flink's checkpoints and savepoints.

locals {
  owner = 10001 # the images' user
}

resource "aws_security_group" "this" {
  name        = "${var.name}-files"
  description = "The file system"
  vpc_id      = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id            = aws_security_group.this.id
  description                  = "NFS in TLS, from the hub"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 2049
  to_port                      = 2049
}

resource "aws_efs_file_system" "this" {
  creation_token  = var.name
  encrypted       = true
  kms_key_id      = var.key_arn
  throughput_mode = "elastic"
  lifecycle_policy {
    transition_to_ia = "AFTER_30_DAYS"
  }
  lifecycle_policy {
    transition_to_primary_storage_class = "AFTER_1_ACCESS"
  }
  tags = { Name = var.name }
}

resource "aws_efs_backup_policy" "this" {
  file_system_id = aws_efs_file_system.this.id
  backup_policy {
    status = "ENABLED"
  }
}

resource "aws_efs_mount_target" "this" {
  count           = length(var.subnet_ids)
  file_system_id  = aws_efs_file_system.this.id
  subnet_id       = var.subnet_ids[count.index]
  security_groups = [aws_security_group.this.id]
}

resource "aws_efs_access_point" "this" {
  for_each       = toset(["hub", "snapshots"])
  file_system_id = aws_efs_file_system.this.id
  posix_user {
    uid = local.owner
    gid = local.owner
  }
  root_directory {
    path = "/${each.key}"
    creation_info {
      owner_uid   = local.owner
      owner_gid   = local.owner
      permissions = "0750"
    }
  }
  tags = { Name = "${var.name}-${each.key}" }
}

# Who is named in no statement that allows it may mount nothing; nobody may without TLS.
resource "aws_efs_file_system_policy" "this" {
  file_system_id = aws_efs_file_system.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect    = "Allow"
        Principal = { AWS = var.client_role_arn }
        Action    = ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]
        Resource  = aws_efs_file_system.this.arn
        Condition = {
          ArnEquals = { "elasticfilesystem:AccessPointArn" = [for point in aws_efs_access_point.this : point.arn] }
        }
      },
      {
        Effect    = "Deny"
        Principal = { AWS = "*" }
        Action    = "elasticfilesystem:Client*"
        Resource  = aws_efs_file_system.this.arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}
