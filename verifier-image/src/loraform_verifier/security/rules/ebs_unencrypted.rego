package loraform.security.ebs_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "EbsUnencrypted",
	"title": "An EBS volume is not encrypted",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_3"],
	"trivy": ["AVD-AWS-0026"],
	"hint": "Set encrypted = true."
}

warn contains lib.finding(rule, change.address, "the volume is not encrypted.") if {
	some change in lib.of_types({"aws_ebs_volume"})
	not lib.given(change, "snapshot_id")
	lib.off(change, "encrypted")
}
