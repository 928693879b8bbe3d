package loraform.security.rds_unencrypted

import data.loraform.lib
import rego.v1

rule := {
	"id": "RdsUnencrypted",
	"title": "A database's storage is not encrypted",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_16", "CKV_AWS_96", "CKV_AWS_74", "CKV_AWS_44"],
	"trivy": ["AVD-AWS-0079", "AVD-AWS-0080"],
	"hint": "Set storage_encrypted = true."
}

managed_elsewhere(change) if {
	some name in {"replicate_source_db", "snapshot_identifier"}
	lib.given(change, name)
}

# Serverless clusters of the first generation are always encrypted.
managed_elsewhere(change) if lib.value(change, "engine_mode") == "serverless"

warn contains lib.finding(rule, change.address, "the storage is not encrypted.") if {
	some change in lib.of_types({"aws_db_instance", "aws_rds_cluster", "aws_docdb_cluster", "aws_neptune_cluster"})
	lib.off(change, "storage_encrypted")
	not managed_elsewhere(change)
}
