package loraform.security.s3_policy_anyone

import data.loraform.lib
import rego.v1

rule := {
	"id": "S3PolicyAnyone",
	"title": "A bucket policy opens the bucket to everyone",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_70"],
	"trivy": [],
	"hint": "Name the principals, or add a condition."
}

warn contains lib.finding(rule, change.address, "the policy allows any principal without a condition.") if {
	some change in lib.of_types({"aws_s3_bucket", "aws_s3_bucket_policy"})
	some statement in lib.statements(lib.value(change, "policy"))
	lib.anyone(statement)
	lib.unconditional(statement)
}
