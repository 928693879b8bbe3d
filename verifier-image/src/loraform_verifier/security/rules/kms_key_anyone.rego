package loraform.security.kms_key_anyone

import data.loraform.lib
import rego.v1

rule := {
	"id": "KmsKeyAnyone",
	"title": "A KMS key policy lets anyone use the key",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_33"],
	"trivy": [],
	"hint": "Name the principals that may use the key."
}

warn contains lib.finding(rule, change.address, "the key policy allows any principal.") if {
	some change in lib.of_types({"aws_kms_key", "aws_kms_key_policy"})
	some statement in lib.statements(lib.value(change, "policy"))
	lib.anyone(statement)
	lib.unconditional(statement)
}
