# A bucket that is private and encrypted. It runs without AWS.

mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { id = "files", arn = "arn:aws:s3:::files" }
  }
}

variables {
  name           = "insights-test-files"
  key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/one"
  days_by_prefix = { "replays/" = 30 }
}

run "objects_are_encrypted_with_the_systems_key" {
  assert {
    condition = alltrue(flatten([
      for rule in aws_s3_bucket_server_side_encryption_configuration.this.rule : [
        for by in rule.apply_server_side_encryption_by_default :
        by.sse_algorithm == "aws:kms" && by.kms_master_key_id == var.key_arn
      ]
    ]))
    error_message = "The bucket should be encrypted with the system's key."
  }
}

run "nobody_reaches_it_without_tls_or_from_the_internet" {
  assert {
    condition = [
      for one in jsondecode(aws_s3_bucket_policy.this.policy).Statement :
      one.Condition.Bool["aws:SecureTransport"] if one.Effect == "Deny" && one.Action == "s3:*"
    ] == ["false"]
    error_message = "Requests without TLS should be refused."
  }
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "Nothing in it should ever be public."
  }
}

run "what_is_named_is_removed_after_its_days" {
  assert {
    condition = {
      for rule in aws_s3_bucket_lifecycle_configuration.this.rule :
      rule.filter[0].prefix => rule.expiration[0].days if length(rule.expiration) > 0
    } == { "replays/" = 30 }
    error_message = "A rule should remove each prefix after its days."
  }
}
