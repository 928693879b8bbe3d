package loraform.security.efs_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "EfsUnencrypted",
	"title": "An EFS file system is not encrypted",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_42"],
	"trivy": ["AVD-AWS-0037"],
	"hint": "Set encrypted = true."
}

warn contains lib.finding(rule, change.address, "the file system is not encrypted.") if {
	some change in lib.of_types({"aws_efs_file_system"})
	lib.off(change, "encrypted")
}
