package loraform.security.kinesis_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "KinesisUnencrypted",
	"title": "A Kinesis stream is not encrypted",
	"severity": "MEDIUM",
	"checkov": ["CKV_AWS_43"],
	"trivy": ["AVD-AWS-0064"],
	"hint": "Set encryption_type = \"KMS\" and a kms_key_id."
}

warn contains lib.finding(rule, change.address, "the stream is not encrypted.") if {
	some change in lib.of_types({"aws_kinesis_stream"})
	lib.value(change, "encryption_type") in {null, "NONE"}
	not lib.unknown(change, "encryption_type")
}
