package loraform.security.s3_public_acl

import data.loraform.lib
import rego.v1

rule := {
	"id": "S3PublicAcl",
	"title": "An S3 bucket has a public ACL",
	"severity": "CRITICAL",
	"checkov": ["CKV_AWS_20", "CKV_AWS_57"],
	"trivy": ["AVD-AWS-0092"],
	"hint": "Use acl = \"private\"."
}

public := {"public-read", "public-read-write", "website", "authenticated-read"}

deny contains lib.finding(rule, change.address, sprintf("the ACL %s opens the bucket to others.", [acl])) if {
	some change in lib.of_types({"aws_s3_bucket", "aws_s3_bucket_acl"})
	acl := lib.value(change, "acl")
	acl in public
}

deny contains lib.finding(rule, change.address, "a grant opens the bucket to everyone.") if {
	some change in lib.of_types({"aws_s3_bucket_acl"})
	some control in lib.list(lib.value(change, "access_control_policy"))
	some grant in lib.list(control.grant)
	some grantee in lib.list(grant.grantee)
	some group in {"/global/AllUsers", "/global/AuthenticatedUsers"}
	endswith(grantee.uri, group)
}
