"""House policy checks of a file: a comment above each resource, tags on each taggable resource, deny rules.

If there is a plan, its tags decide. Without one only literal tags count: `tags = var.tags` may hold the tag, so that
resource is undecided and the program is inconclusive, unless another check fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from loraform_api.verification import DefaultTags, Diagnostic, HousePolicy
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.policy.deny_rules import PolicySubject, broken_rules, policy_subject
from loraform_verifier.policy.taggable import Tagging, tagging_of
from loraform_verifier.policy.tags import tags_of
from loraform_verifier.terraform.planned_resources import NO_PLAN, PlannedInstance, PlannedResources

TAGS_HINT = "Write the tags as an object, or as the last argument of merge(…)."


@dataclass(frozen=True, slots=True)
class PolicyFindings:
    """Violations of the policy, and checks that could not be decided."""

    broken: list[Diagnostic] = field(default_factory=list)
    undecided: list[Diagnostic] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ResourceTags:
    """Tag values of a resource, of one of its planned instances, or of the provider's `default_tags`."""

    values: Mapping[str, Sequence[str | None]]
    """Values by tag: more than one if it is given more than once, None for an unknown one."""
    complete: bool = True


NO_DEFAULTS = ResourceTags({})


def check_house_policy(
    document: Document, policy: HousePolicy, plan: PlannedResources = NO_PLAN, defaults: ResourceTags = NO_DEFAULTS
) -> PolicyFindings:
    """Check a parsed file against the house policy; `defaults` are the provider's `default_tags`."""
    findings = PolicyFindings()
    for block in document.resources():
        resource = policy_subject(block)
        if not has_comment(document, block, policy.comment):
            message = f"{resource.address}: the comment directly above the resource is missing."
            findings.broken.append(_diagnostic("CommentMissing", message, resource, policy.comment))
        of_resource = check_resource(resource, policy, plan, defaults)
        findings.broken.extend(of_resource.broken)
        findings.undecided.extend(of_resource.undecided)
    return findings


def check_resource(
    resource: PolicySubject, policy: HousePolicy, plan: PlannedResources, defaults: ResourceTags
) -> PolicyFindings:
    """Check the tags and arguments of one resource against the house policy."""
    findings = PolicyFindings()
    tagging = tagging_of(resource.type)
    if tagging is not None:
        for tags in _tags_by_instance(resource, tagging, policy, plan, defaults):
            _check_tags(resource, tags, policy, findings)
    broken, undecided = broken_rules(resource, policy.deny, plan)
    return PolicyFindings(_distinct(findings.broken + broken), _distinct(findings.undecided + undecided))


def _distinct(findings: list[Diagnostic]) -> list[Diagnostic]:
    """Return findings without duplicates: instances of a resource usually share them."""
    return list({finding.message: finding for finding in findings}.values())


def _tags_by_instance(
    resource: PolicySubject, tagging: Tagging, policy: HousePolicy, plan: PlannedResources, defaults: ResourceTags
) -> Iterator[ResourceTags]:
    """Yield the tags of each instance: from the plan, or from the program if the plan does not have them."""
    counted = policy.default_tags is DefaultTags.COUNTED
    defaults = defaults if counted and tagging is Tagging.ARGUMENT else NO_DEFAULTS
    instances: Sequence[PlannedInstance | None] = plan.instances.get(resource.address) or [None]
    for instance in instances:
        all_tags = instance.tags("tags_all") if instance and counted else None
        own_tags = instance.tags("tags") if instance else None
        if all_tags is not None:
            yield ResourceTags(all_tags, defaults.complete)
        else:
            tags = _written(resource, tagging) if own_tags is None else ResourceTags(own_tags)
            yield ResourceTags({**defaults.values, **tags.values}, tags.complete and defaults.complete)


def _written(resource: PolicySubject, tagging: Tagging) -> ResourceTags:
    if resource.block is None:
        return ResourceTags({}, complete=False)
    tags = tags_of(resource.block, tagging)
    return ResourceTags(tags.values, tags.complete)


def has_comment(document: Document, resource: HclBlock, comment: str) -> bool:
    """Return whether `comment` is one of the comments directly above a resource."""
    if not comment:
        return True
    last = resource.line - 1
    while last in document.comments:
        first, text = document.comments[last]
        if text.strip() == comment.strip():
            return True
        last = first - 1
    return False


def _check_tags(resource: PolicySubject, tags: ResourceTags, policy: HousePolicy, findings: PolicyFindings) -> None:
    for key in dict.fromkeys([*policy.tags, *policy.required_tags]):
        expected = policy.tags.get(key)
        given = tags.values.get(key, ())
        must = "may have any value" if expected is None else f"must be {expected!r}"
        hint = f'tags = {{ {key} = "{expected or "…"}" }}'
        if given and (expected is None or all(value == expected for value in given)):
            continue
        actual = next((value for value in given if value not in (None, expected)), None)
        if actual is not None:
            message = f"{resource.address}: tag {key} is {actual[:60]!r}; it {must}."
            findings.broken.append(_diagnostic("TagWrong", message, resource, hint))
        elif given or not tags.complete:
            message = f"{resource.address}: tag {key} must be evaluated; it cannot be read off the program."
            findings.undecided.append(_diagnostic("TagUndecided", message, resource, TAGS_HINT))
        else:
            message = f"{resource.address}: tag {key} is missing; it {must}."
            findings.broken.append(_diagnostic("TagMissing", message, resource, hint))


def _diagnostic(code: str, message: str, resource: PolicySubject, hint: str) -> Diagnostic:
    return Diagnostic(code=code, message=message, line=resource.line, hint=hint)
