package loraform.security.iam_trust_anyone

import data.loraform.lib
import rego.v1

rule := {
	"id": "IamTrustAnyone",
	"title": "An IAM role can be assumed by anyone",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_60"],
	"trivy": [],
	"hint": "Name the accounts or services that may assume the role."
}

deny contains lib.finding(rule, change.address, "the trust policy lets any principal assume the role.") if {
	some change in lib.of_types({"aws_iam_role"})
	some statement in lib.statements(lib.value(change, "assume_role_policy"))
	lib.anyone(statement)
	lib.unconditional(statement)
}
