package loraform.security.dynamodb_no_recovery

import data.loraform.lib
import rego.v1

rule := {
	"id": "DynamodbNoRecovery",
	"title": "A table cannot be restored to a point in time",
	"severity": "LOW",
	"checkov": ["CKV_AWS_28"],
	"trivy": ["AVD-AWS-0024"],
	"hint": "Set point_in_time_recovery { enabled = true }."
}

warn contains lib.finding(rule, change.address, "point-in-time recovery is off.") if {
	some change in lib.of_types({"aws_dynamodb_table"})
	lib.off(change, "point_in_time_recovery")
}

warn contains lib.finding(rule, change.address, "point-in-time recovery is off.") if {
	some change in lib.of_types({"aws_dynamodb_table"})
	some settings in lib.list(lib.value(change, "point_in_time_recovery"))
	settings.enabled == false
}
