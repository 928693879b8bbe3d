package loraform.security.opensearch_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "OpensearchUnencrypted",
	"title": "A search domain is not encrypted",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_5"],
	"trivy": ["AVD-AWS-0048"],
	"hint": "Set encrypt_at_rest { enabled = true }."
}

warn contains lib.finding(rule, change.address, "the domain is not encrypted at rest.") if {
	some change in lib.of_types({"aws_opensearch_domain", "aws_elasticsearch_domain"})
	lib.off(change, "encrypt_at_rest")
}

warn contains lib.finding(rule, change.address, "the domain is not encrypted at rest.") if {
	some change in lib.of_types({"aws_opensearch_domain", "aws_elasticsearch_domain"})
	some settings in lib.list(lib.value(change, "encrypt_at_rest"))
	settings.enabled == false
}
