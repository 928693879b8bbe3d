"""The house policy judged on the syntax tree: a comment above each resource, tags on each resource that can have them.

Where a plan was made, its tags decide. Without one a tag counts only where its value can be read off the program:
`tags = var.tags` may well hold it, so such a resource is undecided, which makes the program inconclusive unless
something else is plainly wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node

from loraform_api.verification import DefaultTags, Diagnostic, HousePolicy
from loraform_verifier.hcl.literals import Element, as_string, inner, literal, object_elements
from loraform_verifier.hcl.parse import Block, Document
from loraform_verifier.hcl.tree import children, text_of
from loraform_verifier.policy.deny_rules import Subject, broken_rules, subject_of
from loraform_verifier.policy.taggable import Tagging, tagging_of
from loraform_verifier.terraform.planned import NO_PLAN, Instance, Planned

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
    """The tags of one resource, of one of its planned instances, or of the provider's `default_tags`."""

    values: Mapping[str, str | None]
    """Tag to value; None where it is not known."""
    complete: bool = True


NO_DEFAULTS = Reading({})


def judge(
    document: Document, policy: HousePolicy, plan: Planned = NO_PLAN, defaults: Reading = NO_DEFAULTS
) -> PolicyFindings:
    """Hold a parsed file against the house policy; `defaults` are the provider's `default_tags`."""
    findings = PolicyFindings()
    for block in document.resources():
        resource = subject_of(block)
        if not has_comment(document, block, policy.comment):
            message = f"{resource.address}: the comment directly above the resource is missing."
            findings.broken.append(_found("CommentMissing", message, resource, policy.comment))
        found = judge_resource(resource, policy, plan, defaults)
        findings.broken.extend(found.broken)
        findings.undecided.extend(found.undecided)
    return findings


def judge_resource(resource: Subject, policy: HousePolicy, plan: Planned, defaults: Reading) -> PolicyFindings:
    """Hold the tags and arguments of one resource against the house policy."""
    findings = PolicyFindings()
    tagging = tagging_of(resource.type)
    if tagging is not None:
        for tags in _readings(resource, tagging, policy, plan, defaults):
            _judge_tags(resource, tags, policy, findings)
    broken, undecided = broken_rules(resource, policy.deny, plan)
    return PolicyFindings(_once(findings.broken + broken), _once(findings.undecided + undecided))


def _once(findings: list[Diagnostic]) -> list[Diagnostic]:
    """Return findings without repetition: the instances of a resource tend to break the same."""
    return list({finding.message: finding for finding in findings}.values())


def _readings(
    resource: Subject, tagging: Tagging, policy: HousePolicy, plan: Planned, defaults: Reading
) -> Iterator[Reading]:
    """Yield the tags of all instances, read off the program where the plan does not tell."""
    counted = policy.default_tags is DefaultTags.COUNTED
    defaults = defaults if counted and tagging is Tagging.ARGUMENT else NO_DEFAULTS
    instances: Sequence[Instance | None] = plan.instances.get(resource.address) or [None]
    for instance in instances:
        every = instance.tags("tags_all") if instance and counted else None
        own = instance.tags("tags") if instance else None
        if every is not None:
            yield Reading(every, defaults.complete)
        else:
            tags = _written(resource, tagging) if own is None else Reading(own)
            yield Reading({**defaults.values, **tags.values}, tags.complete and defaults.complete)


def _written(resource: Subject, tagging: Tagging) -> Reading:
    if resource.block is None:
        return Reading({}, complete=False)
    tags = tags_of(resource.block, tagging)
    return Reading({key: tags.value(key) for key in tags.values}, tags.complete)


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


def _judge_tags(resource: Subject, tags: Reading, policy: HousePolicy, findings: PolicyFindings) -> None:
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


def _found(code: str, message: str, resource: Subject, hint: str) -> Diagnostic:
    return Diagnostic(code=code, message=message, line=resource.line, hint=hint)
