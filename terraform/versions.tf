terraform {
  required_version = ">= 1.11" # write-only arguments: passwords are in no state
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.69"
    }
  }

  # tofu init -backend-config=backend.hcl, with what terraform/bootstrap printed.
  backend "s3" {}
}

provider "aws" {
  region = var.region
  default_tags {
    tags = {
      system      = "insights"
      environment = terraform.workspace
    }
  }
}
