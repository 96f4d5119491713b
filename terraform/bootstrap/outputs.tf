output "backend" {
  description = "What to write into terraform/backend.hcl."
  value       = <<-TEXT
    bucket       = "${aws_s3_bucket.state.id}"
    key          = "insights.tfstate"
    region       = "${var.region}"
    encrypt      = true
    kms_key_id   = "${aws_kms_key.this.arn}"
    use_lockfile = true
  TEXT
}

output "repositories" {
  description = "Where the images are pushed to."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "github_role" {
  description = "The role that GitHub Actions assume, if a repository is named."
  value       = one([for role in aws_iam_role.github : role.arn])
}

output "deploy_role" {
  description = "The role that a deployment from GitHub assumes: the environment's variable AWS_DEPLOY_ROLE."
  value       = one([for role in aws_iam_role.deploy : role.arn])
}
