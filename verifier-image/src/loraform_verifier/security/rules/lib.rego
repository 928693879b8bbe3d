# Helpers of the rules. A value that is known only after apply is never reported.
package loraform.lib

import rego.v1

finding(rule, resource, msg) := {
	"id": rule.id,
	"severity": rule.severity,
	"hint": rule.hint,
	"resource": resource,
	"msg": msg,
}

admin_ports := {22, 3389}

by_type := {type: found |
	some type in {change.type | some change in input.resource_changes}
	found := [change |
		some change in input.resource_changes
		change.mode == "managed"
		change.type == type
		is_object(change.change.after)
	]
}

of_types(types) := [change | some type in types; some change in object.get(by_type, type, [])]

# Arguments of the root module's resources, as written in the program.
written := {sprintf("%s.%s", [resource.type, resource.name]): object.get(resource, "expressions", {}) |
	some resource in input.configuration.root_module.resources
	resource.mode == "managed"
}

arguments(change) := written[sprintf("%s.%s", [change.type, change.name])] if not change.module_address

unknown(change, name) if change.change.after_unknown[name] == true

value(change, name) := object.get(change.change.after, name, null)

blank(found) if found in [null, false, "", []]

# False or not set. A value that is known after apply counts only if the program does not set it.
off(change, name) if {
	blank(value(change, name))
	not unknown(change, name)
}

off(change, name) if {
	unknown(change, name)
	not arguments(change)[name]
	arguments(change)
}

# The program sets it to any value.
given(change, name) if not blank(value(change, name))

given(change, name) if {
	unknown(change, name)
	arguments(change)[name]
}

list(found) := found if is_array(found)

list(found) := [found] if {
	not is_array(found)
	found != null
}

list(null) := []

statements(text) := [statement |
	is_string(text)
	json.is_valid(text)
	document := json.unmarshal(text)
	some statement in list(object.get(document, "Statement", []))
	is_object(statement)
	statement.Effect == "Allow"
]

anyone(statement) if statement.Principal == "*"

anyone(statement) if {
	some principal in list(object.get(statement.Principal, "AWS", []))
	principal == "*"
}

unconditional(statement) if object.get(statement, "Condition", {}) == {}

world := {"0.0.0.0/0", "::/0"}

open_to_world(blocks) if {
	some block in list(blocks)
	block in world
}

# Ingress open to everyone: from inline blocks and from both kinds of rule resources.
open_ingress contains found if {
	some change in of_types({"aws_security_group", "aws_default_security_group"})
	some block in list(value(change, "ingress"))
	some name in {"cidr_blocks", "ipv6_cidr_blocks"}
	open_to_world(object.get(block, name, []))
	found := {"resource": change.address, "protocol": block.protocol, "from": block.from_port, "to": block.to_port}
}

open_ingress contains found if {
	some change in of_types({"aws_security_group_rule"})
	value(change, "type") == "ingress"
	some name in {"cidr_blocks", "ipv6_cidr_blocks"}
	open_to_world(value(change, name))
	found := ports(change, "protocol")
}

open_ingress contains found if {
	some change in of_types({"aws_vpc_security_group_ingress_rule"})
	some name in {"cidr_ipv4", "cidr_ipv6"}
	value(change, name) in world
	found := ports(change, "ip_protocol")
}

ports(change, protocol) := {
	"resource": change.address,
	"protocol": value(change, protocol),
	"from": value(change, "from_port"),
	"to": value(change, "to_port"),
}

all_ports(ingress) if ingress.protocol in {"-1", "all"}

all_ports(ingress) if {
	ingress.protocol in {"tcp", "udp", "6", "17"}
	ingress.from <= 1
	ingress.to >= 65535
}
