package loraform.security.s3_access_block_off

import data.loraform.lib
import rego.v1

rule := {
	"id": "S3AccessBlockOff",
	"title": "An S3 public access block lets public access through",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_53", "CKV_AWS_54", "CKV_AWS_55", "CKV_AWS_56"],
	"trivy": ["AVD-AWS-0086", "AVD-AWS-0087", "AVD-AWS-0091", "AVD-AWS-0093"],
	"hint": "Set all four arguments to true."
}

warn contains lib.finding(rule, change.address, sprintf("%s is off.", [name])) if {
	some change in lib.of_types({"aws_s3_bucket_public_access_block", "aws_s3_account_public_access_block"})
	some name in {"block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"}
	lib.off(change, name)
}
