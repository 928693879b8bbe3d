package loraform.security.eks_public_endpoint

import data.loraform.lib
import rego.v1

rule := {
	"id": "EksPublicEndpoint",
	"title": "An EKS endpoint is open to everyone",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_38", "CKV_AWS_39"],
	"trivy": ["AVD-AWS-0040", "AVD-AWS-0041"],
	"hint": "Set endpoint_public_access = false or name public_access_cidrs."
}

everyone(settings, _, _) if lib.open_to_world(object.get(settings, "public_access_cidrs", []))

everyone(_, change, index) if {
	change.change.after_unknown.vpc_config[index].public_access_cidrs == true
	not lib.arguments(change).vpc_config[index].public_access_cidrs
	lib.arguments(change)
}

warn contains lib.finding(rule, change.address, "the API server is reachable from everywhere.") if {
	some change in lib.of_types({"aws_eks_cluster"})
	some index, settings in lib.list(lib.value(change, "vpc_config"))
	object.get(settings, "endpoint_public_access", true) == true
	everyone(settings, change, index)
}
