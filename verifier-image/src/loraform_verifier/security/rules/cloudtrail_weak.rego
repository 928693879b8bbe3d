package loraform.security.cloudtrail_weak

import data.loraform.lib
import rego.v1

rule := {
	"id": "CloudtrailWeak",
	"title": "A trail does not cover all regions or has no log file validation",
	"severity": "MEDIUM",
	"checkov": ["CKV_AWS_36", "CKV_AWS_67"],
	"trivy": ["AVD-AWS-0014", "AVD-AWS-0016"],
	"hint": "Set is_multi_region_trail and enable_log_file_validation to true."
}

warn contains lib.finding(rule, change.address, sprintf("%s is off.", [name])) if {
	some change in lib.of_types({"aws_cloudtrail"})
	some name in {"is_multi_region_trail", "enable_log_file_validation"}
	lib.off(change, name)
}
