package loraform.security.iam_admin

import data.loraform.lib
import rego.v1

rule := {
	"id": "IamAdmin",
	"title": "An IAM policy allows everything on everything",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_62", "CKV_AWS_63"],
	"trivy": ["AVD-AWS-0057"],
	"hint": "Name the actions and the resources that are needed."
}

# Identity policies alone. In a resource policy, such as a KMS key's, Resource * means the resource itself.
documents(change) := [lib.value(change, "policy")] if {
	change.type in {"aws_iam_policy", "aws_iam_role_policy", "aws_iam_user_policy", "aws_iam_group_policy"}
}

documents(change) := [inline.policy | some inline in lib.list(lib.value(change, "inline_policy")); inline.policy] if {
	change.type == "aws_iam_role"
}

types := {"aws_iam_policy", "aws_iam_role_policy", "aws_iam_user_policy", "aws_iam_group_policy", "aws_iam_role"}

deny contains lib.finding(rule, change.address, "the policy allows action * on resource *.") if {
	some change in lib.of_types(types)
	some document in documents(change)
	some statement in lib.statements(document)
	some action in lib.list(object.get(statement, "Action", []))
	action in {"*", "*:*"}
	"*" in lib.list(object.get(statement, "Resource", []))
}
