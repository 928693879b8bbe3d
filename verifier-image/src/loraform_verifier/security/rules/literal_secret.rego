package loraform.security.literal_secret

import data.loraform.lib
import rego.v1

rule := {
	"id": "LiteralSecret",
	"title": "A secret is written in the program",
	"severity": "HIGH",
	"checkov": [],
	"trivy": [],
	"hint": "Use a variable marked sensitive, or let the service manage the secret."
}

secret_arguments := {
	"aws_db_instance": {"password"},
	"aws_rds_cluster": {"master_password"},
	"aws_docdb_cluster": {"master_password"},
	"aws_redshift_cluster": {"master_password"},
	"aws_dms_endpoint": {"password"},
	"aws_directory_service_directory": {"password"},
	"aws_elasticache_replication_group": {"auth_token"},
	"aws_elasticache_user": {"passwords"},
	"aws_secretsmanager_secret_version": {"secret_string"},
	"aws_cognito_identity_provider": {"client_secret"},
	"aws_lightsail_database": {"master_password"},
}

secret_blocks := {"aws_mq_broker": {"user": "password"}}

warn contains lib.finding(rule, address, sprintf("%s is a literal.", [name])) if {
	some resource in input.configuration.root_module.resources
	address := sprintf("%s.%s", [resource.type, resource.name])
	some name in secret_arguments[resource.type]
	literal(resource.expressions[name])
}

warn contains lib.finding(rule, address, "value of a SecureString is a literal.") if {
	some resource in input.configuration.root_module.resources
	resource.type == "aws_ssm_parameter"
	address := sprintf("%s.%s", [resource.type, resource.name])
	resource.expressions.type.constant_value == "SecureString"
	literal(resource.expressions.value)
}

warn contains lib.finding(rule, address, sprintf("%s.%s is a literal.", [block, name])) if {
	some resource in input.configuration.root_module.resources
	address := sprintf("%s.%s", [resource.type, resource.name])
	some block, name in secret_blocks[resource.type]
	some nested in resource.expressions[block]
	literal(nested[name])
}

literal(expression) if {
	is_string(expression.constant_value)
	expression.constant_value != ""
}

literal(expression) if {
	is_array(expression.constant_value)
	count(expression.constant_value) > 0
}
