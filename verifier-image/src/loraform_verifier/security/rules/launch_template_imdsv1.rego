package loraform.security.launch_template_imdsv1

import data.loraform.lib
import rego.v1

rule := {
	"id": "LaunchTemplateImdsv1",
	"title": "A launch template allows IMDSv1",
	"severity": "MEDIUM",
	"checkov": ["CKV_AWS_79"],
	"trivy": ["AVD-AWS-0130"],
	"hint": "Set metadata_options { http_tokens = \"required\" }."
}

warn contains lib.finding(rule, change.address, "the metadata service answers without a token.") if {
	some change in lib.of_types({"aws_launch_template", "aws_launch_configuration"})
	lib.off(change, "metadata_options")
}

warn contains lib.finding(rule, change.address, "the metadata service answers without a token.") if {
	some change in lib.of_types({"aws_launch_template", "aws_launch_configuration"})
	some index, options in lib.list(lib.value(change, "metadata_options"))
	object.get(options, "http_endpoint", null) != "disabled"
	optional(change, index, options)
}

optional(change, index, options) if {
	object.get(options, "http_tokens", null) in {null, "", "optional"}
	not change.change.after_unknown.metadata_options[index].http_tokens
}

optional(change, index, _) if {
	change.change.after_unknown.metadata_options[index].http_tokens
	not lib.arguments(change).metadata_options[index].http_tokens
	lib.arguments(change)
}
