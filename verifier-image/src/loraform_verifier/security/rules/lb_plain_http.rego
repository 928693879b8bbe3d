package loraform.security.lb_plain_http

import data.loraform.lib
import rego.v1

rule := {
	"id": "LbPlainHttp",
	"title": "A load balancer serves plain HTTP",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_2"],
	"trivy": ["AVD-AWS-0054"],
	"hint": "Serve HTTPS, and let HTTP redirect to it."
}

redirects(change) if {
	some action in lib.list(lib.value(change, "default_action"))
	action.type == "redirect"
}

warn contains lib.finding(rule, change.address, "the listener serves plain HTTP.") if {
	some change in lib.of_types({"aws_lb_listener", "aws_alb_listener"})
	lib.value(change, "protocol") == "HTTP"
	not redirects(change)
}
