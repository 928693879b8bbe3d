"""The house policy judged on the syntax tree: a comment above each resource, tags on each resource that can have them.

Where a plan was made, its tags decide. Without one a tag counts only where its value can be read off the program:
`tags = var.tags` may well hold it, so such a resource is undecided, which makes the program inconclusive unless
something else is plainly wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tree_sitter import Node

from loraform_api.verification import DefaultTags, Diagnostic, HousePolicy
from loraform_verifier.house_rules import broken_rules
from loraform_verifier.literals import Element, as_string, inner, literal, object_elements
from loraform_verifier.parse import Block, Document
from loraform_verifier.planned import NO_PLAN, Planned
from loraform_verifier.taggable import Tagging, tagging_of
from loraform_verifier.tree import children, text_of

TAGS_HINT = "Write the tags as an object, or as the last argument of merge(…)."


@dataclass(frozen=True, slots=True)
class PolicyFindings:
    """What a program breaks, and what could not be decided."""

    broken: list[Diagnostic] = field(default_factory=list)
    undecided: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags that can be read off a resource."""

    values: dict[str, Node]
    """Tag to the expression of its value."""
    complete: bool
    """There can be no others."""

    def value(self, key: str) -> str | None:
        """Return a tag's literal value; None when it is absent or must be evaluated."""
        return as_string(literal(self.values[key])) if key in self.values else None


@dataclass(frozen=True, slots=True)
class Reading:
    """The tags of one resource, or of one of its planned instances."""

    values: Mapping[str, str | None]
    """Tag to value; None where it is not known."""
    complete: bool = True


def _read(tags: Tags, defaults: Mapping[str, str]) -> Reading:
    return Reading({**defaults, **{key: tags.value(key) for key in tags.values}}, tags.complete)


def judge(
    document: Document, policy: HousePolicy, plan: Planned = NO_PLAN, defaults: Mapping[str, str] | None = None
) -> PolicyFindings:
    """Hold a parsed file against the house policy; `defaults` are the provider's `default_tags` as far as literal."""
    findings = PolicyFindings()
    counted = defaults if defaults and policy.default_tags is DefaultTags.COUNTED else {}
    for resource in document.resources():
        if not has_comment(document, resource, policy.comment):
            message = f"{resource.address}: the comment directly above the resource is missing."
            findings.broken.append(_found("CommentMissing", message, resource, policy.comment))
        tagging = tagging_of(resource.labels[0])
        if tagging is not None:
            planned = plan.tags(resource.address, with_defaults=policy.default_tags is DefaultTags.COUNTED)
            readings = [_read(tags_of(resource, tagging), counted)] if planned is None else map(Reading, planned)
            for reading in readings:
                _judge_tags(resource, reading, policy, findings)
        broken, undecided = broken_rules(resource, policy.deny, plan)
        findings.broken.extend(broken)
        findings.undecided.extend(undecided)
    return findings


def has_comment(document: Document, resource: Block, comment: str) -> bool:
    """Say whether `comment` is one of the comments that stand directly above a resource."""
    if not comment:
        return True
    last = resource.line - 1
    while last in document.comments:
        first, text = document.comments[last]
        if text.strip() == comment.strip():
            return True
        last = first - 1
    return False


def tags_of(resource: Block, tagging: Tagging) -> Tags:
    """Read a resource's tags."""
    if tagging is Tagging.BLOCKS:
        dynamic = any(b.type == "dynamic" and b.labels == ("tag",) for b in resource.blocks)
        return Tags(dict(_tag_blocks(resource)), complete=not dynamic)
    tags = resource.attribute("tags")
    if tags is None or literal(tags.value) is None:
        return Tags({}, complete=True)
    elements = deciding_elements(tags.value)
    if elements is None:
        return Tags({}, complete=False)
    values = {e.key: e.value for e in elements if e.key is not None}
    return Tags(values, complete=inner(tags.value).type == "object")


def deciding_object(value: Node) -> Node | None:
    """Return the object that `tags` is, or that its `merge` ends in: the last argument wins over the others."""
    value = inner(value)
    if value.type == "function_call" and text_of(value.children[0]) == "merge":
        arguments = [n for a in children(value, "function_arguments") for n in a.named_children if n.type != "comment"]
        value = inner(arguments[-1]) if arguments else value  # an ellipsis at the end is no object either
    return value if value.type == "object" else None


def deciding_elements(value: Node) -> list[Element] | None:
    """Return the elements of the deciding object; None when there is none or a key must be evaluated."""
    holder = deciding_object(value)
    elements = object_elements(holder) if holder is not None else None
    return elements if elements is not None and all(e.key is not None for e in elements) else None


def _tag_blocks(resource: Block) -> Iterator[tuple[str, Node]]:
    for block in resource.blocks:
        key, value = block.attribute("key"), block.attribute("value")
        if block.type == "tag" and key is not None and value is not None:
            name = as_string(literal(key.value))
            if name is not None:
                yield name, value.value


def _judge_tags(resource: Block, tags: Reading, policy: HousePolicy, findings: PolicyFindings) -> None:
    for key in dict.fromkeys([*policy.tags, *policy.required_tags]):
        wanted = policy.tags.get(key)
        found = tags.values.get(key)
        must = "may have any value" if wanted is None else f"must be {wanted!r}"
        hint = f'tags = {{ {key} = "{wanted or "…"}" }}'
        if found == wanted if wanted is not None else key in tags.values:
            continue
        if found is not None:
            message = f"{resource.address}: tag {key} is {found[:60]!r}; it {must}."
            findings.broken.append(_found("TagWrong", message, resource, hint))
        elif key in tags.values or not tags.complete:
            message = f"{resource.address}: tag {key} must be evaluated; it cannot be read off the program."
            findings.undecided.append(_found("TagUndecided", message, resource, TAGS_HINT))
        else:
            message = f"{resource.address}: tag {key} is missing; it {must}."
            findings.broken.append(_found("TagMissing", message, resource, hint))


def _found(code: str, message: str, resource: Block, hint: str) -> Diagnostic:
    return Diagnostic(code=code, message=message, line=resource.line, hint=hint)
