"""Says whether a rewritten program is the old one but for the policy's comments and tags, without asking the rewriter.

Outside resources every byte is the same, except one comment line above a resource. Inside, tokens (comments are
tokens, white space is not) are the same in the same order, except in `tags` and in `tag` blocks: there values of the
policy's keys may have changed, `null` may have gone, and what came is made of the policy's pairs and `merge`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache

from tree_sitter import Node

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.literals import literal
from loraform_verifier.hcl.parse import BYTE_ORDER_MARK, Document, HclBlock, parse
from loraform_verifier.hcl.tree import text_of
from loraform_verifier.policy.taggable import Tagging, tagging_of
from loraform_verifier.policy.tags import tags_of

WORDS = ("{", "}", "merge", "(", ")", ",", "=", "tags", "tag", "key", "value", "propagate_at_launch", "true")


def check_preserved(before: Document, after: Document, policy: HousePolicy) -> None:
    """Raise AssertionError when anything else than the policy's part differs."""
    old, new = list(before.resources()), list(after.resources())
    assert [(r.labels, r.type) for r in old] == [(r.labels, r.type) for r in new], "other resources"
    assert len(before.blocks) == len(after.blocks), "other blocks"
    assert before.source.startswith(BYTE_ORDER_MARK) == after.source.startswith(BYTE_ORDER_MARK), "byte order mark"
    if b"\n" not in before.source.replace(b"\r\n", b""):
        assert b"\n" not in after.source.replace(b"\r\n", b"") or b"\r\n" not in before.source, "line ends"
    for gap, now in zip(_gaps(before, old), _gaps(after, new), strict=True):
        _check_gap(gap, now, policy)
    for resource, now in zip(old, new, strict=True):
        _check_resource(resource, now, policy)


def _gaps(document: Document, resources: list[HclBlock]) -> Iterator[bytes]:
    end = 0
    for resource in resources:
        yield document.source[end : resource.node.start_byte]
        end = resource.node.end_byte
    yield document.source[end:]


def _check_gap(old: bytes, new: bytes, policy: HousePolicy) -> None:
    if old == new:
        return
    if new.startswith(old) and old.rstrip(b" \t").endswith(b"*/"):  # the line began inside the comment
        assert new[len(old) :].decode().split() == policy.comment.split(), f"added above a resource: {new!r}"
        return
    start = old.rfind(b"\n") + 1
    if start == 0 and old.startswith(BYTE_ORDER_MARK):
        start = len(BYTE_ORDER_MARK)
    assert new.startswith(old[:start]), f"changed above a resource: {old!r} to {new!r}"
    assert new.endswith(old[start:]), f"changed above a resource: {old!r} to {new!r}"
    added = new[start : len(new) - len(old) + start]
    assert added.endswith(b"\n"), f"no line: {added!r}"
    assert added.decode().strip() == policy.comment.strip(), f"added above a resource: {added!r}"


def _check_resource(old: HclBlock, new: HclBlock, policy: HousePolicy) -> None:
    tagging = tagging_of(old.labels[0])
    mine = _tag_nodes(old, tagging), _tag_nodes(new, tagging)
    assert list(_tokens(old.node, mine[0])) == list(_tokens(new.node, mine[1])), "tokens outside the tags changed"
    if tagging is None:
        return
    outer, inner = (_values(block, tagging, policy) for block in (old, new))
    before = [token for node in mine[0] for token in _tokens(node, outer)]
    after = [token for node in mine[1] for token in _tokens(node, inner)]
    rest = iter(after)
    again = any(len(nodes) > 1 for nodes in tags_of(old, tagging).places.values())
    kept = [token for token in before if token != "," or not again]  # the comma of an element goes with it
    assert all(token in rest for token in kept), f"tokens of the tags went: {before} to {after}"
    allowed = {*WORDS, *(token for pair in policy.tags.items() for token in _spellings(pair))}
    came = Counter(after) - Counter(token for node in mine[0] for token in _tokens(node, []))
    assert {*came} <= allowed, f"tokens came: {came}"


def _tag_nodes(resource: HclBlock, tagging: Tagging | None) -> list[Node]:
    if tagging is Tagging.BLOCKS:
        return [b.node for b in resource.blocks if b.type == "tag" or (b.type, b.labels) == ("dynamic", ("tag",))]
    argument = resource.attribute("tags") if tagging else None
    return [argument.value.parent] if argument is not None and argument.value.parent is not None else []


def _values(resource: HclBlock, tagging: Tagging, policy: HousePolicy) -> list[Node]:
    """Return the values that a rewrite may replace, and what it may remove because it gives a tag again."""
    places = [(key, nodes) for key, nodes in tags_of(resource, tagging).places.items() if key in policy.tags]
    replaced = [node for _, nodes in places for node in nodes]
    if tagging is Tagging.ARGUMENT:
        replaced += [node.parent for _, nodes in places for node in nodes[:-1] if node.parent is not None]
    else:
        replaced += [block for block in _tag_nodes(resource, tagging) if _gives_again(block, places)]
    argument = resource.attribute("tags")
    if tagging is Tagging.ARGUMENT and argument is not None and literal(argument.value) is None:
        replaced.append(argument.value)
    return replaced


def _gives_again(block: Node, places: list[tuple[str, list[Node]]]) -> bool:
    """Return whether a block gives a tag that a `tag` block before it gives, or is dynamic."""
    inside = [[block.start_byte < node.start_byte < block.end_byte for node in nodes] for _, nodes in places]
    dynamic = text_of(block.children[0]) == "dynamic"
    return any(any(nodes) and (dynamic or not nodes[0]) for nodes in inside)


def _tokens(node: Node, without: list[Node]) -> Iterator[str]:
    """Yield the tokens of a node but for some nodes below; strings whole."""
    skipped = {found.id for found in without}
    stack = [node]
    while stack:
        node = stack.pop()
        if node.id in skipped:
            continue
        if node.type in ("string_lit", "quoted_template", "heredoc_template", "comment") or not node.children:
            yield text_of(node).strip()
        stack.extend(reversed(node.children if node.type not in ("string_lit", "quoted_template") else []))


@cache
def _spellings(pair: tuple[str, str]) -> frozenset[str]:
    escaped = [
        word.replace("\\", "\\\\")
        .replace('"', '\\"')
        .replace("\n", "\\n")
        .replace("\t", "\\t")
        .replace("\r", "\\r")
        .replace("${", "$${")
        .replace("%{", "%%{")
        for word in pair
    ]
    bare = [] if parse(f"{pair[0]} = 1\n").problems else [pair[0]]
    return frozenset([*(f'"{word}"' for word in escaped), *bare])
