"""One wrong edit, or a harmless one, inside a block of a program: what models get wrong where they write resources."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from loraform_verifier.hcl.parse import Attribute, HclBlock, parse
from loraform_verifier.hcl.tree import text_of

Edit = Callable[[str, Random], str]
REFERENCES = ("local.absent", "var.absent", "aws_vpc.absent.id", "module.absent.id", "data.aws_ami.absent.id", "absent")
VALUES = (
    '"abc"',
    "5",
    "true",
    "[]",
    '["a"]',
    "{}",
    '{ a = "b" }',
    '[{ a = "b" }]',
    "null",
    '"7"',
    'nofunc("a")',
    "1 / 0",
)


def rename_argument(text: str, random: Random) -> str:
    """Misspell an argument."""
    argument = _argument(text, random)
    name = random.choice(
        (argument.name[:-1], f"{argument.name}s", argument.name.replace("_", ""), f"my_{argument.name}")
    )
    return _replaced(text, _start(argument), _start(argument) + len(argument.name), name or "z")


def drop_argument(text: str, random: Random) -> str:
    """Leave an argument out."""
    argument = _argument(text, random)
    return _replaced(text, _start(argument), argument.value.end_byte, "")


def change_value(text: str, random: Random) -> str:
    """Give an argument a value of perhaps another type."""
    value = _argument(text, random).value
    return _replaced(text, value.start_byte, value.end_byte, random.choice(VALUES))


def refer_to_nothing(text: str, random: Random) -> str:
    """Make a value a reference to what is not declared."""
    value = _argument(text, random).value
    return _replaced(text, value.start_byte, value.end_byte, random.choice(REFERENCES))


def refer_to_no_attribute(text: str, random: Random) -> str:
    """Add an output of an attribute that a resource does not have."""
    kind, name = _block(text, random, "resource").labels
    return f'{text}output "edited" {{\n  value = {kind}.{name}.{random.choice(("nope", "ids", "name_of_it"))}\n}}\n'


def rename_type(text: str, random: Random) -> str:
    """Misspell a resource's type."""
    label = _block(text, random, "resource").node.children[1]
    word = text_of(label).strip('"')
    return _replaced(
        text, label.start_byte, label.end_byte, f'"{random.choice((word[:-1], word + "s", word + "_v9"))}"'
    )


def rename_resource(text: str, random: Random) -> str:
    """Give a resource another name, so that references miss it."""
    label = _block(text, random, "resource").node.children[2]
    return _replaced(text, label.start_byte, label.end_byte, '"renamed"')


def add_argument(text: str, random: Random) -> str:
    """Add an argument that may not exist, or not be set."""
    name = random.choice(("arn", "id", "enabled", "region", "owner_id", "tags_all", "size", "description", "name"))
    return _put(text, random, f"{name} = {random.choice(VALUES)}")


def add_block(text: str, random: Random) -> str:
    """Add a block that may not exist."""
    return _put(text, random, f"{random.choice(('settings', 'tags', 'timeouts', 'lifecycle', 'rule', 'ebs'))} {{\n}}")


def double_block(text: str, random: Random) -> str:
    """Write a resource twice."""
    return f"{text}{text_of(_block(text, random, 'resource').node)}\n"


def drop_block(text: str, random: Random) -> str:
    """Leave a resource out that others may refer to."""
    node = _block(text, random, "resource").node
    return _replaced(text, node.start_byte, node.end_byte, "")


def drop_character(text: str, random: Random) -> str:
    """Lose a character of the syntax."""
    places = [at for at, character in enumerate(text) if character in '{}[]()="']
    at = random.choice(places)
    return text[:at] + text[at + 1 :]


def cut_off(text: str, random: Random) -> str:
    """End in the middle, as a model does that ran out of tokens."""
    return text[: random.randrange(len(text) // 2, len(text))]


EDITS: tuple[Edit, ...] = (
    rename_argument,
    drop_argument,
    change_value,
    refer_to_nothing,
    refer_to_no_attribute,
    rename_type,
    rename_resource,
    add_argument,
    add_block,
    double_block,
    drop_block,
    drop_character,
    cut_off,
)


def _block(text: str, random: Random, kind: str) -> HclBlock:
    return random.choice([block for block in parse(text).blocks if block.type == kind])


def _nested(text: str, random: Random) -> HclBlock:
    """Return a resource or one of its blocks."""
    block = _block(text, random, "resource")
    return random.choice([block, block, *(b for b in block.blocks if b.type != "dynamic")])


def _argument(text: str, random: Random) -> Attribute:
    with_arguments = [
        block
        for resource in parse(text).blocks
        if resource.type == "resource"
        for block in (resource, *resource.blocks)
        if block.attributes
    ]
    return random.choice(random.choice(with_arguments).attributes)


def _start(argument: Attribute) -> int:
    node = argument.value.parent
    assert node is not None
    return node.start_byte


def _put(text: str, random: Random, item: str) -> str:
    end = _nested(text, random).node.end_byte - 1
    return _replaced(text, end, end, f"\n  {item}\n")


def _replaced(text: str, start: int, end: int, new: str) -> str:
    source = text.encode()
    return (source[:start] + new.encode() + source[end:]).decode()
