# What the default toolchain stage downloads; .terraform.lock.hcl holds the provider's checksum.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}
