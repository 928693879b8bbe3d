package loraform.security.elasticache_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "ElasticacheUnencrypted",
	"title": "An ElastiCache replication group is not encrypted",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_29", "CKV_AWS_30"],
	"trivy": ["AVD-AWS-0045", "AVD-AWS-0051"],
	"hint": "Set at_rest_encryption_enabled and transit_encryption_enabled to true."
}

warn contains lib.finding(rule, change.address, sprintf("%s is off.", [name])) if {
	some change in lib.of_types({"aws_elasticache_replication_group"})
	some name in {"at_rest_encryption_enabled", "transit_encryption_enabled"}
	lib.off(change, name)
}
