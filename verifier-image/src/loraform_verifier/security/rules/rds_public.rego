package loraform.security.rds_public

import data.loraform.lib
import rego.v1

rule := {
	"id": "RdsPublic",
	"title": "A database is reachable from the internet",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_17"],
	"trivy": ["AVD-AWS-0180"],
	"hint": "Set publicly_accessible = false."
}

deny contains lib.finding(rule, change.address, "publicly_accessible is true.") if {
	some change in lib.of_types({
		"aws_db_instance", "aws_rds_cluster_instance", "aws_redshift_cluster", "aws_dms_replication_instance",
		"aws_neptune_cluster_instance", "aws_mq_broker",
	})
	lib.value(change, "publicly_accessible") == true
}
