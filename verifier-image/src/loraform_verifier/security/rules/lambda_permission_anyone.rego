package loraform.security.lambda_permission_anyone

import data.loraform.lib
import rego.v1

rule := {
	"id": "LambdaPermissionAnyone",
	"title": "A Lambda function may be called by anyone",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_301", "CKV_AWS_364"],
	"trivy": ["AVD-AWS-0067"],
	"hint": "Set source_arn or source_account."
}

unbounded(change, name) if {
	lib.value(change, name) == null
	not lib.unknown(change, name)
}

warn contains lib.finding(rule, change.address, "any principal may invoke the function, from any source.") if {
	some change in lib.of_types({"aws_lambda_permission"})
	lib.value(change, "principal") == "*"
	unbounded(change, "source_arn")
	unbounded(change, "source_account")
	unbounded(change, "principal_org_id")
}
