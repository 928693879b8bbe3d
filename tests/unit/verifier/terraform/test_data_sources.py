"""Values for data sources that read an account."""

from __future__ import annotations

import ipaddress
import json

from loraform_verifier.terraform.data_sources import LOCAL, reads_api, table_of, values_of


def test_only_aws_data_sources_that_are_not_local_read_an_account() -> None:
    assert reads_api("aws_ami")
    assert not reads_api("aws_iam_policy_document")
    assert not reads_api("random_id")
    assert all(not reads_api(name) for name in LOCAL)


def test_zones_and_arns_lie_in_the_programs_region() -> None:
    zones = values_of("aws_availability_zones", "eu-west-1")
    assert zones["names"] == ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    assert values_of("aws_vpc", "eu-west-1")["arn"] == "arn:aws:ec2:eu-west-1:123456789012:vpc/example"


def test_identifiers_look_like_those_of_their_kind() -> None:
    assert values_of("aws_ami", "us-east-1")["id"] == "ami-0123456789abcdef0"
    vpc = values_of("aws_vpc", "us-east-1")
    assert (vpc["id"], vpc["main_route_table_id"]) == ("vpc-0123456789abcdef0", "rtb-0123456789abcdef0")
    assert len(set(values_of("aws_subnets", "us-east-1")["ids"])) == 3
    assert values_of("aws_db_instance", "us-east-1")["id"] == "example"
    assert values_of("aws_caller_identity", "us-east-1")["account_id"] == "123456789012"


def test_values_have_types_that_expressions_can_use() -> None:
    assert ipaddress.ip_network(values_of("aws_vpc", "us-east-1")["cidr_block"])
    assert json.loads(values_of("aws_iam_policy", "us-east-1")["policy"])["Version"] == "2012-10-17"
    assert "password" in json.loads(values_of("aws_secretsmanager_secret_version", "us-east-1")["secret_string"])


def test_lists_of_objects_have_one_complete_element() -> None:
    (devices,) = values_of("aws_ami", "us-east-1")["block_device_mappings"]
    assert devices == {"device_name": "example", "ebs": {}, "no_device": "example", "virtual_name": "example"}
    (config,) = values_of("aws_eks_cluster", "us-east-1")["vpc_config"]
    assert config["endpoint_public_access"] is False
    assert config["vpc_id"] == "vpc-0123456789abcdef0"


def test_an_unknown_data_source_gets_no_values() -> None:
    assert values_of("aws_nothing_of_this_name", "us-east-1") == {}


def test_the_table_names_computed_attributes_in_the_short_form() -> None:
    attributes = {
        "id": {"type": "string", "computed": True},
        "name": {"type": "string", "required": True},
        "size": {"type": "number", "computed": True},
        "arns": {"type": ["set", "string"], "computed": True},
        "tags": {"type": ["map", "string"], "computed": True},
        "parts": {
            "type": [
                "list",
                ["object", {"vpc_id": "string", "size": "number", "open": "bool", "more": ["set", "number"]}],
            ],
            "computed": True,
        },
        "maps": {"type": ["list", ["object", {"tags": ["map", "string"]}]], "computed": True},
        "strange": {"type": ["list", ["object", {"x": "dynamic"}]], "computed": True},
    }
    sources = {"aws_ami": {"block": {"attributes": attributes}}, "aws_region": {"block": {"attributes": attributes}}}
    assert table_of({"provider_schemas": {"p": {"data_source_schemas": sources}}}) == {
        "aws_ami": "arns* id maps{tags@} parts{more% open? size# vpc_id}"
    }
