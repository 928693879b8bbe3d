package loraform.security.ecr_mutable_tags

import data.loraform.lib
import rego.v1

rule := {
	"id": "EcrMutableTags",
	"title": "Image tags can be overwritten",
	"severity": "LOW",
	"checkov": ["CKV_AWS_51"],
	"trivy": ["AVD-AWS-0031"],
	"hint": "Set image_tag_mutability = \"IMMUTABLE\"."
}

warn contains lib.finding(rule, change.address, "image tags are mutable.") if {
	some change in lib.of_types({"aws_ecr_repository"})
	lib.value(change, "image_tag_mutability") in {null, "MUTABLE"}
	not lib.unknown(change, "image_tag_mutability")
}
