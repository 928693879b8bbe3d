package loraform.security.redshift_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "RedshiftUnencrypted",
	"title": "A Redshift cluster is not encrypted",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_64"],
	"trivy": ["AVD-AWS-0084"],
	"hint": "Set encrypted = true."
}

warn contains lib.finding(rule, change.address, "the cluster is not encrypted.") if {
	some change in lib.of_types({"aws_redshift_cluster"})
	lib.off(change, "encrypted")
}
