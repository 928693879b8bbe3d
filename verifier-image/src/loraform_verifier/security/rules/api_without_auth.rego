package loraform.security.api_without_auth

import data.loraform.lib
import rego.v1

rule := {
	"id": "ApiWithoutAuth",
	"title": "An API method needs no authorisation",
	"severity": "MEDIUM",
	"checkov": ["CKV_AWS_59"],
	"trivy": ["AVD-AWS-0004"],
	"hint": "Set an authorizer, IAM authorisation or an API key."
}

warn contains lib.finding(rule, change.address, "anyone may call the method.") if {
	some change in lib.of_types({"aws_api_gateway_method"})
	lib.value(change, "authorization") == "NONE"
	lib.value(change, "http_method") != "OPTIONS"
	lib.off(change, "api_key_required")
}

warn contains lib.finding(rule, change.address, "anyone may call the route.") if {
	some change in lib.of_types({"aws_apigatewayv2_route"})
	lib.value(change, "authorization_type") in {null, "NONE"}
	not lib.unknown(change, "authorization_type")
	lib.off(change, "api_key_required")
}
