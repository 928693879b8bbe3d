package loraform.security.cloudfront_plain_http

import data.loraform.lib
import rego.v1

rule := {
	"id": "CloudfrontPlainHttp",
	"title": "A CloudFront distribution serves plain HTTP",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_34"],
	"trivy": ["AVD-AWS-0012"],
	"hint": "Set viewer_protocol_policy = \"redirect-to-https\"."
}

warn contains lib.finding(rule, change.address, sprintf("%s serves plain HTTP.", [name])) if {
	some change in lib.of_types({"aws_cloudfront_distribution"})
	some name in {"default_cache_behavior", "ordered_cache_behavior"}
	some behavior in lib.list(lib.value(change, name))
	behavior.viewer_protocol_policy == "allow-all"
}
