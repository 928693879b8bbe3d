"""The kinds of mistakes of repair rows: each breaks a correct program in one position, as models do. Pure functions.

A mistake may leave a program valid; the verifier decides. There is no kind for policy violations that the rewriter
fixes, because a model is never asked to repair those.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from random import Random

from loraform_api.verification import DenyRule, HousePolicy
from loraform_trainer.prepare.dataset.repair import language, schema
from loraform_trainer.prepare.dataset.repair.edits import Mistake, choose, replaced, with_line, without
from loraform_verifier.hcl.literals import as_string, escape, literal, object_elements
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.policy.taggable import tagging_of
from loraform_verifier.policy.tags import deciding_object

GENERAL_KINDS: Mapping[str, Mistake] = {
    "MissingArgument": schema.missing_argument,
    "InventedArgument": schema.invented_argument,
    "MisspeltArgument": schema.misspelt_argument,
    "InventedType": schema.invented_type,
    "WrongAttribute": schema.wrong_attribute,
    "WrongValue": schema.wrong_value,
    "BlockAsArgument": schema.block_as_argument,
    "ArgumentAsBlock": schema.argument_as_block,
    "WrongReference": language.wrong_reference,
    "UndeclaredVariable": language.undeclared_variable,
    "ForgottenVariable": language.forgotten_variable,
    "InventedFunction": language.invented_function,
    "RepeatedArgument": language.repeated_argument,
    "RepeatedResource": language.repeated_resource,
    "MissingBrace": language.missing_brace,
    "MissingQuote": language.missing_quote,
}
"""Mistakes that do not depend on the house policy, by name."""


def kinds(policy: HousePolicy | None) -> dict[str, Mistake]:
    """Return all mistakes by kind: the general ones, and violations of the policy that the rewriter cannot fix."""
    mistakes = dict(GENERAL_KINDS)
    if policy is not None and policy.required_tags:
        mistakes["MissingTag"] = _without_tag(policy.required_tags)
    if policy is not None and (rules := [rule for rule in policy.deny if _breakable(rule)]):
        mistakes["DeniedValue"] = _with_denied_value(rules)
    return mistakes


def _without_tag(keys: list[str]) -> Mistake:
    def missing_tag(document: Document, random: Random) -> str | None:
        """Remove a required tag without a fixed value, which no rewrite can add."""
        tag_values = []
        for resource in document.resources():
            tags = resource.attribute("tags") if tagging_of(resource.labels[0]) else None
            holder = deciding_object(tags.value) if tags else None
            elements = object_elements(holder) if holder is not None else None
            tag_values += [e.value for e in elements or () if e.key in keys]
        value = choose(random, tag_values)
        return None if value is None or value.parent is None else without(document, value.parent)

    return missing_tag


def _breakable(rule: DenyRule) -> bool:
    """Return whether one line can violate a rule: it denies values of a top-level argument."""
    return bool(rule.values) and bool(rule.argument) and "." not in rule.argument


def _with_denied_value(rules: list[DenyRule]) -> Mistake:
    def denied_value(document: Document, random: Random) -> str | None:
        """Set an argument to a value that the policy denies."""
        targets = [(r, rule) for r in document.resources() for rule in rules if _applies(rule, r)]
        target = choose(random, targets)
        if target is None:
            return None
        resource, rule = target
        value = f'"{escape(random.choice(rule.values))}"'  # terraform converts a string to the type of the argument
        attribute = resource.attribute(rule.argument)
        if attribute is None:
            return with_line(document, resource, f"{rule.argument} = {value}")
        return replaced(document, attribute.value.start_byte, attribute.value.end_byte, value)

    return denied_value


def _applies(rule: DenyRule, resource: HclBlock) -> bool:
    """Return whether a rule covers the type of a resource that does not violate it yet."""
    attribute = resource.attribute(rule.argument)
    is_kept = attribute is None or as_string(literal(attribute.value)) not in rule.values
    return is_kept and any(fnmatchcase(resource.labels[0], pattern) for pattern in rule.types)
