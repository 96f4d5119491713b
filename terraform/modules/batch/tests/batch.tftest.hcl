# What replays on EMR Serverless may do, reach and use up, and no more. It runs without AWS.

mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { id = "replays", arn = "arn:aws:s3:::replays" }
  }
  mock_resource "aws_security_group" {
    defaults = { id = "sg-job" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/job" }
  }
  mock_resource "aws_emrserverless_application" {
    defaults = { id = "00one", arn = "arn:aws:emr-serverless:eu-central-1:123456789012:/applications/00one" }
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
  }
  lake           = { bucket_arn = "arn:aws:s3:::lake", prefix = "log" }
  key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/one"
  most_executors = 2
}

run "it_uses_up_no_more_than_a_driver_and_its_executors" {
  assert {
    condition = alltrue([
      aws_emrserverless_application.this.maximum_capacity[0].cpu == "12 vCPU",
      aws_emrserverless_application.this.maximum_capacity[0].memory == "48 GB",
      aws_emrserverless_application.this.maximum_capacity[0].disk == "60 GB",
    ])
    error_message = "The most that all jobs may use is three workers."
  }
  assert {
    condition = alltrue([
      aws_emrserverless_application.this.auto_stop_configuration[0].enabled,
      aws_emrserverless_application.this.auto_stop_configuration[0].idle_timeout_minutes <= 15,
      length(aws_emrserverless_application.this.initial_capacity) == 0,
    ])
    error_message = "While nothing runs, the application should cost nothing."
  }
  assert {
    condition     = tostring(output.settings.INSIGHTS_EMR_MAX_EXECUTORS) == "2"
    error_message = "The hub should ask for as many executors as there may be."
  }
}

run "it_runs_in_private_subnets_and_reaches_its_servers_at_their_ports" {
  assert {
    condition = alltrue([
      aws_emrserverless_application.this.network_configuration[0].subnet_ids == toset(["subnet-a", "subnet-b"]),
      aws_emrserverless_application.this.network_configuration[0].security_group_ids == toset(["sg-job"]),
    ])
    error_message = "Its workers should be in the private subnets, with its own security group."
  }
  assert {
    condition = {
      for name, rule in aws_vpc_security_group_egress_rule.servers :
      name => "${rule.referenced_security_group_id} ${rule.ip_protocol} ${rule.from_port}-${rule.to_port}"
      } == {
      kafka    = "sg-kafka tcp 9096-9096"
      postgres = "sg-postgres tcp 5432-5432"
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

run "a_job_reads_the_lake_and_writes_its_results_alone" {
  assert {
    condition = {
      for one in jsondecode(aws_iam_role_policy.this.policy).Statement :
      one.Sid => "${join(" ", flatten([one.Action]))} at ${join(" ", flatten([one.Resource]))}"
      } == {
      Bucket         = "s3:ListBucket at arn:aws:s3:::replays"
      Files          = "s3:GetObject at arn:aws:s3:::replays/files/* arn:aws:s3:::replays/replays/*"
      ResultsAndLogs = "s3:PutObject s3:DeleteObject s3:AbortMultipartUpload at arn:aws:s3:::replays/replays/*"
      Lake           = "s3:ListBucket at arn:aws:s3:::lake"
      LakesFiles     = "s3:GetObject at arn:aws:s3:::lake/log/*"
      Key            = "kms:Decrypt kms:GenerateDataKey at arn:aws:kms:eu-central-1:123456789012:key/one"
    }
    error_message = "A job's rights are others than a replay needs."
  }
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role_policy.this.policy).Statement :
      one.Condition.StringLike["s3:prefix"] == "log/*" if one.Sid == "Lake"
    ])
    error_message = "A job should list the log's copy alone, not the whole lake."
  }
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role_policy.this.policy).Statement :
      one.Condition.StringEquals["kms:ViaService"] == "s3.eu-central-1.amazonaws.com" if one.Sid == "Key"
    ])
    error_message = "A job should use the key by S3 alone."
  }
}

run "only_jobs_of_its_own_application_have_its_role" {
  assert {
    condition = alltrue([
      for one in jsondecode(aws_iam_role.this.assume_role_policy).Statement : alltrue([
        one.Principal == { Service = "emr-serverless.amazonaws.com" },
        one.Condition.StringEquals["aws:SourceAccount"] == "123456789012",
        one.Condition.ArnEquals["aws:SourceArn"] == aws_emrserverless_application.this.arn,
      ])
    ])
    error_message = "Another application, or another service, could take the role."
  }
}

run "the_hub_runs_jobs_of_this_application_as_this_role_alone" {
  assert {
    condition = {
      for one in jsondecode(output.policy).Statement :
      one.Sid => "${join(" ", flatten([one.Action]))} at ${join(" ", flatten([one.Resource]))}"
      } == {
      Submit    = "emr-serverless:StartJobRun at ${aws_emrserverless_application.this.arn}"
      Watch     = "emr-serverless:GetJobRun emr-serverless:CancelJobRun at ${aws_emrserverless_application.this.arn}/jobruns/*"
      AsItsRole = "iam:PassRole at arn:aws:iam::123456789012:role/job"
      Bucket    = "s3:ListBucket at arn:aws:s3:::replays"
      Files     = "s3:GetObject s3:PutObject at arn:aws:s3:::replays/files/* arn:aws:s3:::replays/replays/*"
      Key       = "kms:Decrypt kms:GenerateDataKey at arn:aws:kms:eu-central-1:123456789012:key/one"
    }
    error_message = "The hub's rights are others than submitting a replay needs."
  }
  assert {
    condition = alltrue([
      for one in jsondecode(output.policy).Statement :
      one.Condition.StringEquals["iam:PassedToService"] == "emr-serverless.amazonaws.com" if one.Sid == "AsItsRole"
    ])
    error_message = "The hub could give the role to another service."
  }
}

run "its_logs_are_in_its_bucket_alone" {
  assert {
    condition     = !aws_emrserverless_application.this.monitoring_configuration[0].managed_persistence_monitoring_configuration[0].enabled
    error_message = "AWS would keep a copy of the logs, encrypted with another key."
  }
}
