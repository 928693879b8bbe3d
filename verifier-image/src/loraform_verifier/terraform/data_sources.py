"""AWS data sources that read an account, and fixed, plausible values for their attributes.

The table lists the computed attributes of those data sources in a short form: `id arns* vpc_config{vpc_id size# open?}`
is a string, a list of strings, and a list of objects with a string, a number and a bool; `%` marks an empty list, `@`
an empty map. Terraform fills in 0, false and empty collections for omitted attributes, but random strings; the table
makes plans reproducible.

`python -m loraform_verifier.terraform.data_sources SCHEMA.json` prints a new table, where SCHEMA.json is the output of
`terraform providers schema -json`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

TABLE = "data_sources.json"
PREFIX = "aws_"
ACCOUNT = "123456789012"
LOCAL = {
    "aws_apprunner_hosted_zone_id",
    "aws_arn",
    "aws_billing_service_account",
    "aws_cloudfront_log_delivery_canonical_user_id",
    "aws_cloudtrail_service_account",
    "aws_cloudwatch_log_data_protection_policy_document",
    "aws_default_tags",
    "aws_ecr_lifecycle_policy_document",
    "aws_eks_cluster_auth",
    "aws_elastic_beanstalk_hosted_zone",
    "aws_elb_hosted_zone_id",
    "aws_elb_service_account",
    "aws_iam_policy_document",
    "aws_lb_hosted_zone_id",
    "aws_networkmanager_core_network_policy_document",
    "aws_partition",
    "aws_redshift_service_account",
    "aws_region",
    "aws_route53_traffic_policy_document",
    "aws_sagemaker_prebuilt_ecr_image",
    "aws_service",
    "aws_service_principal",
}
"""The data sources of provider 5.100.0 that can be read without a network."""
MAX_OBJECT = 400
"""Characters of an object's short form; longer ones become an empty list."""
_TOKEN = re.compile(r"(\w+)([*{#?%@])?|(\})")
_PLAIN: dict[str, Any] = {"#": 0, "?": False, "%": [], "@": {}}
_HEX = "0123456789abcdef0"
_ID_PREFIXES = {
    "transit_gateway_attachment": "tgw-attach-",
    "transit_gateway_route_table": "tgw-rtb-",
    "transit_gateway": "tgw-",
    "vpc_peering_connection": "pcx-",
    "vpc_endpoint": "vpce-",
    "dhcp_options": "dopt-",
    "security_group": "sg-",
    "network_interface": "eni-",
    "network_acl": "acl-",
    "internet_gateway": "igw-",
    "nat_gateway": "nat-",
    "vpn_gateway": "vgw-",
    "customer_gateway": "cgw-",
    "route_table": "rtb-",
    "launch_template": "lt-",
    "prefix_list": "pl-",
    "file_system": "fs-",
    "allocation": "eipalloc-",
    "association": "assoc-",
    "snapshot": "snap-",
    "key_pair": "key-",
    "volume": "vol-",
    "subnet": "subnet-",
    "instance": "i-",
    "image": "ami-",
    "eip": "eipalloc-",
    "ami": "ami-",
    "vpc": "vpc-",
}
_ID = re.compile(r"(_id)?s?$")
_SERVICES = {"lb": "elasticloadbalancing", "alb": "elasticloadbalancing", "elb": "elasticloadbalancing", "db": "rds"}
_EC2 = ("ami", "instance", "internet", "nat", "network", "route", "security", "subnet", "vpc", "vpn")
_POLICY = '{"Version":"2012-10-17","Statement":[]}'
# The first pattern that an attribute's name matches gives its value; {region} is the program's.
_BY_NAME = [
    (re.compile(pattern), value)
    for pattern, value in (
        (r"(^|_)ipv6.*cidr", "2001:db8::/56"),
        (r"cidr", "10.0.0.0/16"),
        (r"(^|_)ipv6_address(es)?$|^ipv6$", "2001:db8::10"),
        (r"(^|_)(public|private)?_?ips?$|(^|_)ip_address(es)?$", "10.0.0.10"),
        (r"(^|_)(account|owner|registry|payer_account|master_account)_ids?$|^owner$|^account$", ACCOUNT),
        (r"role_arns?$", f"arn:aws:iam::{ACCOUNT}:role/example"),
        (r"policy_arns?$", f"arn:aws:iam::{ACCOUNT}:policy/example"),
        (r"certificate_arns?$", f"arn:aws:acm:{{region}}:{ACCOUNT}:certificate/example"),
        (r"kms_key(_id|_arn)?s?$", f"arn:aws:kms:{{region}}:{ACCOUNT}:key/01234567-89ab-cdef-0123-456789abcdef"),
        (r"(^|_)(hosted_)?zone_ids?$", "Z0123456789ABCDEFGHIJ"),
        (r"(^|_)availability_zone_ids?$", "use1-az1"),
        (r"(^|_)availability_zones?$", "{region}a"),
        (r"(^|_)region$", "{region}"),
        (r"^(minified_)?(json|policy|policy_document|assume_role_policy|inline_policy|body|document)$", _POLICY),
        (r"^secret_string$", '{"username":"example","password":"example"}'),
        (r"(_date|_time|_at|^date_created|^expiration|^last_modified)$", "2024-01-01T00:00:00Z"),
        (r"(^|_)(url|uri|issuer)$", "https://example.com"),
        (r"(dns_name|domain_name|hostname|^domain|website_endpoint|^address)$", "example.com"),
        (r"endpoint", "example.com"),
        (r"instance_types?$", "t3.micro"),
        (r"version$", "1.0"),
    )
]
_SPECIAL: dict[str, dict[str, Any]] = {
    "aws_ami": {"architecture": "x86_64", "root_device_name": "/dev/xvda", "root_device_type": "ebs"},
    "aws_availability_zones": {
        "names": ["{region}a", "{region}b", "{region}c"],
        "zone_ids": ["use1-az1", "use1-az2", "use1-az3"],
        "group_names": ["{region}"],
        "id": "{region}",
    },
    "aws_caller_identity": {
        "account_id": ACCOUNT,
        "id": ACCOUNT,
        "arn": f"arn:aws:iam::{ACCOUNT}:user/example",
        "user_id": "AIDAEXAMPLEEXAMPLEEXA",
    },
    "aws_eks_cluster": {
        "endpoint": "https://example.eks.amazonaws.com",
        "certificate_authority": [{"data": "ZXhhbXBsZQ=="}],
    },
    "aws_ip_ranges": {"cidr_blocks": ["10.0.0.0/16"], "ipv6_cidr_blocks": ["2001:db8::/56"]},
    "aws_kms_key": {"id": "01234567-89ab-cdef-0123-456789abcdef"},
    "aws_route53_zone": {"id": "Z0123456789ABCDEFGHIJ", "name": "example.com"},
    "aws_ssm_parameter": {"value": f"ami-{_HEX}", "insecure_value": f"ami-{_HEX}"},
}


def reads_api(data_type: str) -> bool:
    """Return whether a data source reads an account; those of other providers count as local."""
    return data_type.startswith(PREFIX) and data_type not in LOCAL


def values_of(data_type: str, region: str) -> dict[str, Any]:
    """Return values for the computed attributes of a data source that reads the API."""
    tokens = _TOKEN.finditer(_table().get(data_type, ""))
    special = _SPECIAL.get(data_type, {})
    values = _values(tokens, data_type, region)
    return values | {name: _in_region(value, region) for name, value in special.items()}


def _values(tokens: Iterator[re.Match[str]], data_type: str, region: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for token in tokens:
        name, kind, end = token.groups()
        if end:
            break
        if kind == "{":
            values[name] = [_values(tokens, data_type, region)]
        elif kind == "*":
            values[name] = _strings(data_type, name, region)
        elif kind:
            values[name] = _PLAIN[kind]
        else:
            values[name] = _string(data_type, name, region)
    return values


def _strings(data_type: str, name: str, region: str) -> list[str]:
    one = _string(data_type, name, region)
    if name in ("ids", "subnet_ids", "subnets") and one.endswith(_HEX):
        return [one[:-1] + digit for digit in "012"]
    return [one]


def _string(data_type: str, name: str, region: str) -> str:
    if name in ("arn", "arns"):
        return _arn(data_type, region)
    for pattern, value in _BY_NAME:
        if pattern.search(name):
            return value.replace("{region}", region)
    if re.search(r"_arns?$", name):
        return _arn(data_type, region)
    is_own_id = name in ("id", "ids")
    source = data_type if is_own_id else name if _ID.search(name) else ""
    noun = _ID.sub("", source.removeprefix(PREFIX).removeprefix("ec2_"))
    prefixes = (p for word, p in _ID_PREFIXES.items() if noun == word or (not is_own_id and noun.endswith(f"_{word}")))
    return next((prefix + _HEX for prefix in prefixes), "example")


def _arn(data_type: str, region: str) -> str:
    parts = data_type.removeprefix(PREFIX).split("_")
    if parts[0] == "iam":
        return f"arn:aws:iam::{ACCOUNT}:{parts[-1]}/example"
    if parts[0] == "s3":
        return "arn:aws:s3:::example"
    service = "ec2" if parts[0] in _EC2 else _SERVICES.get(parts[0], parts[0])
    return f"arn:aws:{service}:{region}:{ACCOUNT}:{parts[-1]}/example"


def _in_region(value: Any, region: str) -> Any:
    if isinstance(value, list):
        return [_in_region(item, region) for item in value]
    return value.replace("{region}", region) if isinstance(value, str) else value


@cache
def _table() -> dict[str, str]:
    loaded: dict[str, str] = json.loads(files(__package__).joinpath(TABLE).read_text())
    return loaded


def table_of(schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the table for the output of `terraform providers schema -json`."""
    table = {}
    for provider in schema["provider_schemas"].values():
        for name, source in sorted(provider.get("data_source_schemas", {}).items()):
            attributes = source["block"].get("attributes", {})
            computed = {key: a["type"] for key, a in attributes.items() if a.get("computed") and "type" in a}
            if reads_api(name) and (short := _short_form(computed)):
                table[name] = short
    return table


def _short_form(attributes: Mapping[str, Any]) -> str:
    """Return the short form of the attributes that terraform would fill with random values."""
    forms = ((_attribute_form(name, kind), kind) for name, kind in sorted(attributes.items()))
    return " ".join(form for form, kind in forms if form and kind not in ("number", "bool") and form[-1] not in "%@")


def _attribute_form(name: str, kind: Any) -> str | None:
    match kind:
        case "string" | "number" | "bool":
            return name + {"string": "", "number": "#", "bool": "?"}[kind]
        case ["list" | "set", "string"]:
            return f"{name}*"
        case ["list" | "set", ["object", inside]]:
            forms = [_attribute_form(key, value) for key, value in sorted(inside.items())]
            form = f"{name}{{{' '.join(filter(None, forms))}}}"
            return form if None not in forms and len(form) <= MAX_OBJECT else f"{name}%"
        case ["list" | "set" | "map" as outer, _]:
            return name + ("@" if outer == "map" else "%")
        case _:
            return None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(table_of(json.loads(Path(sys.argv[1]).read_text())), indent=0) + "\n")
