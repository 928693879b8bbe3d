package loraform.security.s3_default_encryption

import data.loraform.lib
import rego.v1

rule := {
	"id": "S3DefaultEncryption",
	"title": "An S3 bucket has no encryption configuration of its own",
	"severity": "LOW",
	"checkov": ["CKV_AWS_19"],
	"trivy": ["AVD-AWS-0088"],
	"hint": "Add an aws_s3_bucket_server_side_encryption_configuration."
}

encrypts(bucket) if count(lib.list(lib.value(bucket, "server_side_encryption_configuration"))) > 0

encrypts(bucket) if {
	some settings in lib.of_types({"aws_s3_bucket_server_side_encryption_configuration"})
	some reference in lib.arguments(settings).bucket.references
	reference == sprintf("%s.%s", [bucket.type, bucket.name])
}

encrypts(bucket) if {
	some settings in lib.of_types({"aws_s3_bucket_server_side_encryption_configuration"})
	lib.value(settings, "bucket") == lib.value(bucket, "bucket")
}

warn contains lib.finding(rule, bucket.address, "the bucket relies on S3's default encryption.") if {
	some bucket in lib.of_types({"aws_s3_bucket"})
	lib.arguments(bucket)
	not encrypts(bucket)
}
