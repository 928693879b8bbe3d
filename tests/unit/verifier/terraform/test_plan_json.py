"""The plan of a batch is split into the plans of separate runs."""

from __future__ import annotations

from typing import Any

from loraform_verifier.terraform.plan_json import changes_of, split, with_changes, without_keys

AWS = "registry.terraform.io/hashicorp/aws"


def change(address: str, module: str, mode: str = "managed", after: Any = None) -> dict[str, Any]:
    kind, name = address.removeprefix(f"{module}.").removeprefix("data.").partition("[")[0].split(".")
    return {
        "address": address,
        "module_address": module,
        "mode": mode,
        "type": kind,
        "name": name,
        "provider_name": AWS,
        "change": {"actions": ["create"], "after": {"x": 1} if after is None else after, "after_sensitive": {}},
    }


def planned(address: str, values: Any = None) -> dict[str, Any]:
    return {"address": address, "values": {"x": 1} if values is None else values}


def configured(address: str, **more: Any) -> dict[str, Any]:
    return {"address": address, "provider_config_key": "aws", "expressions": {}, "schema_version": 1} | more


NET = {"resources": [configured("aws_vpc.v")], "variables": {"cidr": {}}}
PLAN: dict[str, Any] = {
    "format_version": "1.2",
    "timestamp": "now",
    "planned_values": {
        "root_module": {
            "resources": [planned("terraform_data.unknown")],
            "child_modules": [
                {
                    "address": "module.r1",
                    "resources": [
                        planned('aws_subnet.s["module.r1.x"]') | {"address": 'module.r1.aws_subnet.s["module.r1.x"]'}
                    ],
                    "child_modules": [
                        {
                            "address": 'module.r1.module.net["b"]',
                            "resources": [planned('module.r1.module.net["b"].aws_vpc.v')],
                        },
                        {
                            "address": 'module.r1.module.net["a"]',
                            "resources": [planned('module.r1.module.net["a"].aws_vpc.v')],
                        },
                    ],
                },
                {"address": "module.r12", "resources": [planned("module.r12.aws_vpc.other")]},
            ],
        }
    },
    "resource_changes": [
        {"address": "terraform_data.unknown", "mode": "managed", "change": {}},
        change('module.r1.aws_subnet.s["module.r1.x"]', "module.r1"),
        change('module.r1.module.net["a"].aws_vpc.v', 'module.r1.module.net["a"]')
        | {"type": "aws_vpc", "name": "v", "previous_address": "module.r1.aws_vpc.old"},
        change("module.r12.aws_vpc.other", "module.r12"),
    ],
    "prior_state": {
        "format_version": "1.0",
        "values": {
            "root_module": {
                "child_modules": [{"address": "module.r12", "resources": [planned("module.r12.data.aws_region.r")]}]
            }
        },
    },
    "configuration": {
        "provider_config": {
            "aws": {
                "name": "aws",
                "expressions": {"region": {"constant_value": "us-east-1"}, "max_retries": {"constant_value": 1}},
            },
            "terraform": {"name": "terraform"},
        },
        "root_module": {
            "resources": [configured("terraform_data.unknown", provider_config_key="terraform")],
            "module_calls": {
                "r1": {
                    "source": "./r1",
                    "expressions": {"size": {}},
                    "module": {
                        "resources": [configured("aws_subnet.s")],
                        "variables": {"size": {}, "name": {"default": "x"}, "off": {"default": False}},
                        "module_calls": {"net": {"source": "./net", "module": NET}},
                    },
                },
                "r12": {"source": "./r12", "module": {"resources": [configured("aws_vpc.other")]}},
                "r3": {"source": "./r3", "module": {}},
            },
        },
    },
}


def test_changes_lose_only_the_programs_module_prefix() -> None:
    changes = split(PLAN)["r1"]["resource_changes"]
    assert [(c["address"], c.get("module_address")) for c in changes] == [
        ('aws_subnet.s["module.r1.x"]', None),
        ('module.net["a"].aws_vpc.v', 'module.net["a"]'),
    ]
    assert changes[1]["previous_address"] == "aws_vpc.old"
    assert changes_of(PLAN)["r1"] == changes


def test_planned_values_are_those_of_a_root_module_in_order() -> None:
    root = split(PLAN)["r1"]["planned_values"]["root_module"]
    assert root == {
        "resources": [planned('aws_subnet.s["module.r1.x"]')],
        "child_modules": [
            {"address": 'module.net["a"]', "resources": [planned('module.net["a"].aws_vpc.v')]},
            {"address": 'module.net["b"]', "resources": [planned('module.net["b"].aws_vpc.v')]},
        ],
    }


def test_the_configuration_is_that_of_the_module() -> None:
    configuration = split(PLAN)["r1"]["configuration"]
    assert configuration["root_module"] == PLAN["configuration"]["root_module"]["module_calls"]["r1"]["module"]
    assert configuration["provider_config"] == {
        "aws": {"name": "aws", "expressions": {"region": {"constant_value": "us-east-1"}}}
    }


def test_providers_of_nested_modules_are_named_as_in_the_root() -> None:
    net = {"resources": [configured("aws_vpc.a", provider_config_key="module.r0.module.net:aws")]}
    plan = {
        "configuration": {
            "root_module": {"module_calls": {"r0": {"module": {"module_calls": {"net": {"module": net}}}}}}
        }
    }
    (call,) = split(plan)["r0"]["configuration"]["root_module"]["module_calls"].values()
    assert call["module"]["resources"] == [configured("aws_vpc.a")]


def test_variables_have_their_defaults() -> None:
    assert split(PLAN)["r1"]["variables"] == {"name": {"value": "x"}, "off": {"value": False}}
    assert "variables" not in split(PLAN)["r12"]


def test_a_module_with_a_similar_name_stays_separate() -> None:
    own = split(PLAN)["r12"]
    assert [c["address"] for c in own["resource_changes"]] == ["aws_vpc.other"]
    assert own["planned_values"] == {"root_module": {"resources": [planned("aws_vpc.other")]}}
    assert own["prior_state"] == {
        "format_version": "1.0",
        "values": {"root_module": {"resources": [planned("data.aws_region.r")]}},
    }
    assert "prior_state" not in split(PLAN)["r1"]


def test_an_empty_program_has_an_empty_plan() -> None:
    own = split(PLAN)["r3"]
    assert (own["resource_changes"], own["planned_values"], own["errored"]) == ([], {"root_module": {}}, False)
    assert own["configuration"] == {"provider_config": {}, "root_module": {}}


def test_values_that_differ_between_runs_are_left_out() -> None:
    assert "timestamp" not in split(PLAN)["r1"]


def test_planned_values_follow_from_changes() -> None:
    own = split(PLAN)["r1"]
    deep = 'module.net["a.b"].module.x[0]'
    changes = [
        change("data.aws_ami.d", "", "data") | {"address": "data.aws_ami.d"},
        change("aws_subnet.s", "") | {"index": 0, "address": "aws_subnet.s[0]"},
        change(f"{deep}.aws_vpc.v", deep, after={}),
        change("aws_eip.gone", "") | {"change": {"actions": ["delete"], "after": None}},
    ]
    made = with_changes(own | {"prior_state": {}}, changes)
    shared = {"provider_name": AWS, "sensitive_values": {}}
    assert made["resource_changes"] == changes
    assert "prior_state" not in made
    assert made["planned_values"]["root_module"] == {
        "resources": [
            {"address": "aws_subnet.s[0]", "mode": "managed", "type": "aws_subnet", "name": "s", "index": 0}
            | {"schema_version": 1, "values": {"x": 1}}
            | shared,
            {"address": "data.aws_ami.d", "mode": "data", "type": "aws_ami", "name": "d"}
            | {"schema_version": 0, "values": {"x": 1}}
            | shared,
        ],
        "child_modules": [
            {
                "address": 'module.net["a.b"]',
                "child_modules": [
                    {
                        "address": deep,
                        "resources": [
                            {"address": f"{deep}.aws_vpc.v", "mode": "managed", "type": "aws_vpc", "name": "v"}
                            | {"schema_version": 0}
                            | shared
                        ],
                    }
                ],
            }
        ],
    }


def test_instance_keys_with_brackets_are_removed() -> None:
    assert without_keys('module.a["x]\\"[0]"].aws_vpc.v[3]') == "module.a.aws_vpc.v"
