package loraform.security.security_group_open_all

import data.loraform.lib
import rego.v1

rule := {
	"id": "SecurityGroupOpenAll",
	"title": "A security group opens all ports to everyone",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_277"],
	"trivy": ["AVD-AWS-0107"],
	"hint": "Name the ports and the networks that may connect."
}

deny contains lib.finding(rule, ingress.resource, "all ports are open to everyone.") if {
	some ingress in lib.open_ingress
	lib.all_ports(ingress)
}
