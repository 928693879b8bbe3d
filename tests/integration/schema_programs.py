"""Programs to hold the Schema stage against Terraform: good ones, and what becomes of them by one wrong edit.

Everything is drawn from one seed. Good programs come from the demo's corpora, from a few written here for the rarer
constructs, and from the schema itself, so that every type of the provider may be met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

from loraform_demo.corpus import dataset_rows
from loraform_verifier.hcl.parse import Attribute, Document, HclBlock, parse
from loraform_verifier.hcl.tree import text_of, walk
from loraform_verifier.schema.catalogue import BlockSchema, Catalogue

UNKNOWN = 'variable "u" {}\nvariable "l" {\n  type = list(string)\n}\n'
WRITTEN = (
    """
locals {
  rules = [{ port = 80 }, { port = 443 }]
  none  = []
}
resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
  tags       = { Name = "main" }
}
resource "aws_security_group" "web" {
  name   = "web"
  vpc_id = aws_vpc.main.id
  dynamic "ingress" {
    for_each = local.rules
    iterator = rule
    content {
      from_port   = rule.value.port
      to_port     = rule.value.port
      protocol    = "tcp"
      cidr_blocks = [aws_vpc.main.cidr_block]
    }
  }
  dynamic "egress" {
    for_each = local.none
    content {
      from_port = 0
      to_port   = 0
      protocol  = "-1"
      anything  = true
    }
  }
  lifecycle {
    create_before_destroy = true
    ignore_changes        = [description, tags["Name"]]
  }
}
output "group" {
  value = "${aws_security_group.web.arn} of ${aws_vpc.main.id}"
}
""",
    """
data "aws_ami" "os" {
  most_recent = true
  owners      = ["amazon"]
  filter {
    name   = "name"
    values = ["al2023-*"]
  }
}
resource "aws_instance" "web" {
  count         = 2
  ami           = data.aws_ami.os.id
  instance_type = "t3.micro"
  monitoring    = "true"
  user_data     = <<-EOT
    echo ${data.aws_ami.os.name} aws_instance.web.nothing
  EOT
  root_block_device {
    volume_size = "20"
    encrypted   = true
  }
  dynamic "ebs_block_device" {
    for_each = var.l
    content {
      device_name = ebs_block_device.value
      volume_size = 8
    }
  }
  timeouts {
    create = "10m"
  }
}
output "addresses" {
  value = [for web in aws_instance.web : web.private_ip]
}
output "first" {
  value = aws_instance.web[0].root_block_device[0].volume_id
}
variable "l" {
  type    = list(string)
  default = []
}
""",
    """
resource "aws_autoscaling_group" "g" {
  max_size             = 2
  min_size             = 1
  availability_zones   = ["us-east-1a"]
  launch_configuration = "x"
  tag {
    key                 = "a"
    value               = "b"
    propagate_at_launch = true
  }
}
resource "aws_s3_bucket" "b" {
  for_each = toset(["a", "b"])
  bucket   = each.key
}
resource "aws_s3_bucket_lifecycle_configuration" "c" {
  bucket = aws_s3_bucket.b["a"].id
  rule {
    id     = "r"
    status = "Enabled"
    filter {
      prefix = "x/"
    }
    expiration {
      days = 3
    }
  }
}
resource "terraform_data" "d" {
  input = { a = aws_s3_bucket.b["b"].arn }
}
""",
    """
resource "aws_network_acl" "n" {
  vpc_id = "vpc-1"
  ingress = [{
    action = "allow", cidr_block = "0.0.0.0/0", from_port = 0, icmp_code = 0, icmp_type = 0
    ipv6_cidr_block = "", protocol = "tcp", rule_no = 1, to_port = 0
  }]
}
resource "aws_route_table" "r" {
  vpc_id = aws_network_acl.n.vpc_id
  route  = []
}
data "aws_iam_policy_document" "p" {
  statement {
    actions   = ["s3:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
  }
}
resource "aws_dynamodb_table" "t" {
  name         = "t"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "id"
  attribute {
    name = "id"
    type = "S"
  }
  ttl {
    attribute_name = try(data.aws_iam_policy_document.p.json, "x")
    enabled        = true
  }
}
""",
)
WRONG_VALUES = ('"abc"', "5", "true", "[]", '["a"]', "{}", '{ a = "b" }', '[{ a = "b" }]', "null", "var.u", '"7"')
REPEATED = ("[]", '["a"]', "{}", '{ a = "b" }', "var.l", "var.u", 'toset(["a"])', "toset([])", "local.absent")


def good(catalogue: Catalogue, seed: int, count: int) -> Iterator[str]:
    """Yield the written programs, then `count` of the demo's corpus and `count` made from the schema."""
    yield from WRITTEN
    yield from (row.response for row in dataset_rows(count, seed))
    rng = Random(seed)
    provider = catalogue.local("aws")
    assert provider is not None
    for kind in rng.choices(("resource", "data"), (3, 1), k=count):
        name = rng.choice(list(provider.types(kind)))
        schema = provider.find(kind, name)
        assert schema is not None
        used = f"locals {{\n  x = {_reference(kind, name, schema, rng)}\n}}\n"
        yield complete(f'{kind} "{name}" "x" {{\n{_body(schema, rng)}}}\n{used}')


def broken(text: str, rng: Random) -> str:
    """Return the program after one or two edits that may or may not make it wrong."""
    for _ in range(rng.choice((1, 1, 1, 2))):
        document = parse(text)
        if document.problems or not document.blocks:
            return text
        text = rng.choice(EDITS)(document, rng)
    return complete(text)


def complete(text: str) -> str:
    """Return the program with the input variables that it and its edits use."""
    return text if 'variable "' in text or "var." not in text else text + UNKNOWN


def _body(schema: BlockSchema, rng: Random, depth: int = 0) -> str:
    lines = []
    for name, argument in schema.arguments.items():
        if argument.required or (argument.settable and rng.random() < 0.05):
            lines.append(f"{name} = var.u")
    for name in schema.nested:
        nested = schema.block(name)
        assert nested is not None
        extra = rng.random() < 0.1 and depth < 2 and name != "timeouts"
        lines += [f"{name} {{\n{_body(nested.block, rng, depth + 1)}}}"] * (nested.min_items or int(extra))
    return "".join(f"{line}\n" for line in lines)


def _reference(kind: str, name: str, schema: BlockSchema, rng: Random) -> str:
    attribute = rng.choice(list(schema.arguments))
    return f"{'data.' if kind == 'data' else ''}{name}.x.{attribute}"


def _blocks(document: Document) -> list[HclBlock]:
    """Return the blocks at any depth, the plain ones of the language left out."""
    found, open_ = [], [b for b in document.blocks if b.type in ("resource", "data")] or list(document.blocks)
    while open_:
        block = open_.pop()
        found.append(block)
        open_.extend(block.blocks)
    return found


def _put(document: Document, start: int, end: int, text: str) -> str:
    return (document.source[:start] + text.encode() + document.source[end:]).decode()


def _attribute(document: Document, rng: Random) -> Attribute | None:
    found = [attribute for block in _blocks(document) for attribute in block.attributes]
    return rng.choice(found) if found else None


def _typo(name: str, rng: Random) -> str:
    at = rng.randrange(len(name))
    return rng.choice((name[:at] + name[at + 1 :], name[:at] + "z" + name[at:], f"{name}s", f"my_{name}")) or "z"


def rename_argument(document: Document, rng: Random) -> str:
    found = _attribute(document, rng)
    if found is None:
        return document.source.decode()
    start = found.value.parent.start_byte if found.value.parent else 0
    return _put(document, start, start + len(found.name), _typo(found.name, rng))


def drop_argument(document: Document, rng: Random) -> str:
    found = _attribute(document, rng)
    node = found.value.parent if found else None
    return _put(document, node.start_byte, node.end_byte, "") if node else document.source.decode()


def change_value(document: Document, rng: Random) -> str:
    found = _attribute(document, rng)
    if found is None:
        return document.source.decode()
    return _put(document, found.value.start_byte, found.value.end_byte, rng.choice(WRONG_VALUES))


def add_argument(document: Document, rng: Random) -> str:
    block = rng.choice(_blocks(document))
    name = rng.choice(("arn", "id", "name", "enabled", "tags", "region", "owner_id", "timeouts", "ingress", "size"))
    if block.attribute(name):
        return document.source.decode()
    return _put(document, block.node.end_byte - 1, block.node.end_byte - 1, f"\n{name} = {rng.choice(WRONG_VALUES)}\n")


def rename_type(document: Document, rng: Random) -> str:
    block = rng.choice(_blocks(document))
    names = [c for c in block.node.children if c.type in ("identifier", "string_lit")]
    node = names[0] if len(names) == 1 else rng.choice(names[:2])
    word = text_of(node).strip('"')
    quotes = '"' if node.type == "string_lit" else ""
    return _put(document, node.start_byte, node.end_byte, f"{quotes}{_typo(word, rng)}{quotes}")


def swap_kind(document: Document, rng: Random) -> str:
    node = rng.choice(document.blocks).node.children[0]
    kinds = {"resource": "data", "data": "resource"}
    return _put(document, node.start_byte, node.end_byte, kinds.get(text_of(node), "resource"))


def drop_block(document: Document, rng: Random) -> str:
    node = rng.choice(_blocks(document)).node
    return _put(document, node.start_byte, node.end_byte, "")


def double_block(document: Document, rng: Random) -> str:
    node = rng.choice(_blocks(document)).node
    return _put(document, node.end_byte, node.end_byte, f"\n{text_of(node)}")


def move_block(document: Document, rng: Random) -> str:
    blocks = _blocks(document)
    node, to = rng.choice(blocks).node, rng.choice(blocks).node
    return _put(document, to.end_byte - 1, to.end_byte - 1, f"\n{text_of(node)}\n")


def block_to_argument(document: Document, rng: Random) -> str:
    nested = [b for b in _blocks(document) if not b.labels]
    if not nested:
        return document.source.decode()
    node = rng.choice(nested).node
    at = node.children[0].end_byte
    return _put(document, at, at, " =")


def argument_to_block(document: Document, rng: Random) -> str:
    found = _attribute(document, rng)
    node = found.value.parent if found else None
    if found is None or node is None:
        return document.source.decode()
    return _put(document, node.start_byte, node.end_byte, f"{found.name} {{\n  a = 1\n}}")


def repeat_block(document: Document, rng: Random) -> str:
    nested = [b for b in _blocks(document) if not b.labels and b.type != "content"]
    if not nested:
        return document.source.decode()
    block = rng.choice(nested)
    content = text_of(block.node)[len(block.type) :]
    text = f'dynamic "{block.type}" {{\nfor_each = {rng.choice(REPEATED)}\ncontent {content}\n}}'
    if "local.absent" in text:
        text = text.replace("local.absent", "local.rules")
    return _put(document, block.node.start_byte, block.node.end_byte, text)


def rename_reference(document: Document, rng: Random) -> str:
    steps = [n for n in walk(document.root) if n.type == "get_attr"]
    if not steps:
        return change_value(document, rng)
    node = rng.choice(steps)
    return _put(document, node.start_byte + 1, node.end_byte, _typo(text_of(node)[1:], rng))


EDITS: Sequence[Callable[[Document, Random], str]] = (
    rename_argument,
    drop_argument,
    change_value,
    change_value,
    add_argument,
    add_argument,
    rename_type,
    swap_kind,
    drop_block,
    double_block,
    move_block,
    block_to_argument,
    argument_to_block,
    repeat_block,
    repeat_block,
    rename_reference,
    rename_reference,
)
