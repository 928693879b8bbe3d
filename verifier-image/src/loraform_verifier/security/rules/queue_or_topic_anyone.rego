package loraform.security.queue_or_topic_anyone

import data.loraform.lib
import rego.v1

rule := {
	"id": "QueueOrTopicAnyone",
	"title": "A queue or a topic is open to everyone",
	"severity": "HIGH",
	"checkov": ["CKV_AWS_168", "CKV_AWS_169"],
	"trivy": ["AVD-AWS-0097"],
	"hint": "Name the principals, or add a condition on the source."
}

warn contains lib.finding(rule, change.address, "the policy allows any principal without a condition.") if {
	some change in lib.of_types({"aws_sqs_queue", "aws_sqs_queue_policy", "aws_sns_topic", "aws_sns_topic_policy"})
	some statement in lib.statements(lib.value(change, "policy"))
	lib.anyone(statement)
	lib.unconditional(statement)
}
