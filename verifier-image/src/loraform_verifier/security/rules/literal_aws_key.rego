package loraform.security.literal_aws_key

import data.loraform.lib
import rego.v1

rule := {
	"id": "LiteralAwsKey",
	"title": "An AWS access key is written in the program",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_46", "CKV_AWS_45"],
	"trivy": ["AVD-AWS-0029"],
	"hint": "Give the workload an IAM role instead of a key."
}

access_key := `(^|[^A-Z0-9])(AKIA|ASIA)[A-Z0-9]{16}($|[^A-Z0-9])`

# For lower-cased text; quotes may be escaped.
secret_key := `aws_secret_access_key[\\"']*\s*[=:][\s\\"']*[a-z0-9/+]{40}`

holds_key(text) if regex.match(access_key, text)

holds_key(text) if regex.match(secret_key, lower(text))

texts contains {"resource": change.address, "text": text} if {
	some change in input.resource_changes
	change.mode == "managed"
	some name in {"user_data", "content", "secret_string", "value", "container_definitions"}
	text := lib.value(change, name)
	is_string(text)
}

texts contains {"resource": change.address, "text": base64.decode(text)} if {
	some change in input.resource_changes
	change.mode == "managed"
	some name in encoded(change.type)
	text := lib.value(change, name)
	is_string(text)
}

encoded("aws_launch_template") := {"user_data"}

encoded(type) := {"user_data_base64"} if type != "aws_launch_template"

texts contains {"resource": change.address, "text": sprintf("%s=%s", [name, setting])} if {
	some change in input.resource_changes
	change.mode == "managed"
	some block in lib.list(lib.value(change, "environment"))
	some name, setting in object.get(block, "variables", {})
}

# From the configuration: the plan has only a digest of some user data.
texts contains {"resource": address, "text": text} if {
	some resource in input.configuration.root_module.resources
	resource.mode == "managed"
	address := sprintf("%s.%s", [resource.type, resource.name])
	text := resource.expressions.user_data.constant_value
	is_string(text)
}

deny contains lib.finding(rule, found.resource, "an AWS access key is written in the program.") if {
	some found in texts
	holds_key(found.text)
}
