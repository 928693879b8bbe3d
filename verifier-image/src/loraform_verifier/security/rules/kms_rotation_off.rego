package loraform.security.kms_rotation_off

import data.loraform.lib
import rego.v1

rule := {
	"id": "KmsRotationOff",
	"title": "A KMS key is not rotated",
	"severity": "MEDIUM",
	"checkov": ["CKV_AWS_7"],
	"trivy": ["AVD-AWS-0065"],
	"hint": "Set enable_key_rotation = true."
}

rotatable(change) if {
	lib.value(change, "customer_master_key_spec") in {null, "SYMMETRIC_DEFAULT"}
	lib.value(change, "key_usage") in {null, "ENCRYPT_DECRYPT"}
}

warn contains lib.finding(rule, change.address, "the key is not rotated.") if {
	some change in lib.of_types({"aws_kms_key"})
	rotatable(change)
	lib.off(change, "enable_key_rotation")
}
