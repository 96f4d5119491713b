# What the live job on Managed Service for Apache Flink may do and reach, and no more. It runs without AWS.

mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { id = "packages", arn = "arn:aws:s3:::packages" }
  }
  mock_resource "aws_secretsmanager_secret" {
    defaults = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:live-job" }
  }
  mock_resource "aws_security_group" {
    defaults = { id = "sg-job", arn = "arn:aws:ec2:eu-central-1:123456789012:security-group/sg-job" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:job" }
  }
  mock_resource "aws_cloudwatch_log_stream" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:job:log-stream:live-job" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/job" }
  }
}

variables {
  name       = "insights-test"
  region     = "eu-central-1"
  account_id = "123456789012"
  vpc_id     = "vpc-1"
  subnet_ids = ["subnet-a", "subnet-b"]
  servers = {
    kafka    = { security_group_id = "sg-kafka", port = 9096 }
    postgres = { security_group_id = "sg-postgres", port = 5432 }
    registry = { security_group_id = "sg-hub", port = 19081 }
  }
  lake     = { bucket_arn = "arn:aws:s3:::lake", prefix = "log" }
  key_arn  = "arn:aws:kms:eu-central-1:123456789012:key/one"
  log_days = 14
}

run "it_reaches_its_servers_at_their_ports_and_aws_by_tls" {
  assert {
    condition = {
      for name, rule in aws_vpc_security_group_egress_rule.servers :
      name => "${rule.referenced_security_group_id} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}"
      } == {
      kafka    = "sg-kafka tcp 9096-9096"
      postgres = "sg-postgres tcp 5432-5432"
      registry = "sg-hub tcp 19081-19081"
    }
    error_message = "The rules to its servers should be one port of each."
  }
  assert {
    condition = alltrue([
      aws_vpc_security_group_egress_rule.aws.ip_protocol == "tcp",
      aws_vpc_security_group_egress_rule.aws.from_port == 443,
      aws_vpc_security_group_egress_rule.aws.to_port == 443,
    ])
    error_message = "Beyond its servers it should reach port 443 alone."
  }
}

run "its_role_may_do_what_it_does_and_no_more" {
  assert {
    condition = {
      for one in jsondecode(aws_iam_role_policy.data.policy).Statement : one.Sid => join(" ", flatten([one.Action]))
      } == {
      Package     = "s3:GetObject s3:GetObjectVersion"
      Lake        = "s3:ListBucket"
      LakesFiles  = "s3:GetObject s3:PutObject s3:DeleteObject s3:AbortMultipartUpload s3:ListMultipartUploadParts"
      Passwords   = "secretsmanager:GetSecretValue"
      Key         = "kms:Decrypt kms:GenerateDataKey"
      Log         = "logs:PutLogEvents"
      LogsStreams = "logs:DescribeLogStreams"
      LogGroups   = "logs:DescribeLogGroups"
    }
    error_message = "The role's actions are others than the live job needs."
  }
  assert {
    condition = {
      for one in jsondecode(aws_iam_role_policy.data.policy).Statement : one.Sid => join(" ", flatten([one.Resource]))
      } == {
      Package     = "arn:aws:s3:::packages/live-job/*"
      Lake        = "arn:aws:s3:::lake"
      LakesFiles  = "arn:aws:s3:::lake/log/*"
      Passwords   = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:live-job"
      Key         = "arn:aws:kms:eu-central-1:123456789012:key/one"
      Log         = "arn:aws:logs:eu-central-1:123456789012:log-group:job:log-stream:live-job"
      LogsStreams = "arn:aws:logs:eu-central-1:123456789012:log-group:job:*"
      LogGroups   = "arn:aws:logs:eu-central-1:123456789012:log-group:*"
    }
    error_message = "The role's resources should be its own package, secret and log, and the log's copy in the lake."
  }
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role_policy.data.policy).Statement :
      one.Condition.StringLike["s3:prefix"] == "log/*" if one.Sid == "Lake"
    ])
    error_message = "It should list the log's copy alone, not the whole lake."
  }
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role_policy.data.policy).Statement :
      toset(one.Condition.StringEquals["kms:ViaService"]) == toset([
        "s3.eu-central-1.amazonaws.com", "secretsmanager.eu-central-1.amazonaws.com",
      ]) if one.Sid == "Key"
    ])
    error_message = "It should use the key by S3 and Secrets Manager alone."
  }
}

run "only_its_own_application_has_its_role" {
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role.this.assume_role_policy).Statement : alltrue([
        one.Principal == { Service = "kinesisanalytics.amazonaws.com" },
        one.Condition.StringEquals["aws:SourceAccount"] == "123456789012",
        endswith(one.Condition.ArnEquals["aws:SourceArn"], ":application/${output.target.application}"),
      ])
    ])
    error_message = "Another application, or another service, could take the role."
  }
}

run "the_hub_sees_the_application_and_changes_nothing" {
  assert {
    condition = {
      for one in jsondecode(output.policy).Statement :
      one.Sid => "${join(" ", flatten([one.Action]))} at ${join(" ", flatten([one.Resource]))}"
      } == {
      State       = "kinesisanalytics:DescribeApplication at ${local.application_arn}"
      Definitions = "s3:GetObject at arn:aws:s3:::packages/live-job/*"
      Key         = "kms:Decrypt at arn:aws:kms:eu-central-1:123456789012:key/one"
    }
    error_message = "The hub's rights are others than looking at its live job needs."
  }
  assert {
    condition     = output.settings.INSIGHTS_DEPLOY_STREAM == jsonencode(output.target)
    error_message = "The hub should look at the application that `insights deploy` makes."
  }
}

run "network_interfaces_are_in_its_subnets" {
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role_policy.network.policy).Statement :
      toset(one.Condition.ArnEquals["ec2:Subnet"]) == toset([
        for id in var.subnet_ids : "arn:aws:ec2:eu-central-1:123456789012:subnet/${id}"
      ]) if one.Sid == "UseAndRemove"
    ])
    error_message = "It could take network interfaces of others."
  }
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role_policy.network.policy).Statement : !contains(flatten([one.Resource]), "*")
      if one.Sid != "Look"
    ])
    error_message = "It could change network interfaces anywhere."
  }
}

run "all_that_it_keeps_is_encrypted_with_the_systems_key" {
  assert {
    condition     = aws_cloudwatch_log_group.this.kms_key_id == var.key_arn
    error_message = "The log should be encrypted with the system's key."
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == var.log_days
    error_message = "The log should not be kept for ever."
  }
  assert {
    condition     = aws_secretsmanager_secret.this.kms_key_id == var.key_arn
    error_message = "The passwords should be encrypted with the system's key."
  }
  assert {
    condition     = output.target.bucket == "s3://packages" && output.target.security_groups == ["sg-job"]
    error_message = "`insights deploy` should get the bucket and the security group that are made here."
  }
}
