package loraform.security.security_group_open_admin

import data.loraform.lib
import rego.v1

rule := {
	"id": "SecurityGroupOpenAdmin",
	"title": "A security group opens an administration port to everyone",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_24", "CKV_AWS_25"],
	"trivy": ["AVD-AWS-0107"],
	"hint": "Name the networks that may connect."
}

deny contains lib.finding(rule, ingress.resource, sprintf("port %d is open to everyone.", [port])) if {
	some ingress in lib.open_ingress
	not lib.all_ports(ingress)
	ingress.protocol in {"tcp", "6"}
	some port in lib.admin_ports
	ingress.from <= port
	ingress.to >= port
}
