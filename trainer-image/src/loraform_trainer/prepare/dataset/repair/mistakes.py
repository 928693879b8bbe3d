"""The kinds of mistakes that repair rows are made of: each breaks a right program in one place, as a model would. Pure.

Not every mistake makes a program wrong: whether it did is for the verifier to say. What the house policy asks and a
rewrite puts in is no kind: a model is never told to repair it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from random import Random

from loraform_api.verification import DenyRule, HousePolicy
from loraform_trainer.prepare.dataset.repair import language, schema
from loraform_trainer.prepare.dataset.repair.edits import Breakage, added, choose, replaced, without
from loraform_verifier.hcl.literals import as_string, escape, literal, object_elements
from loraform_verifier.hcl.parse import Document, HclBlock
from loraform_verifier.policy.taggable import tagging_of
from loraform_verifier.policy.tags import deciding_object

KINDS: Mapping[str, Breakage] = {
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
"""Mistakes of any program, by name."""


def kinds(policy: HousePolicy | None) -> dict[str, Breakage]:
    """Return all kinds by name: those of any program, and those against what a rewrite cannot put in."""
    found = dict(KINDS)
    if policy is not None and policy.required_tags:
        found["MissingTag"] = _without_tag(policy.required_tags)
    if policy is not None and (rules := [rule for rule in policy.deny if _breakable(rule)]):
        found["DeniedValue"] = _with_denied_value(rules)
    return found


def _without_tag(keys: list[str]) -> Breakage:
    def missing_tag(document: Document, random: Random) -> str | None:
        """Leave out a tag that may have any value, so that no rewrite can invent it."""
        found = []
        for resource in document.resources():
            tags = resource.attribute("tags") if tagging_of(resource.labels[0]) else None
            holder = deciding_object(tags.value) if tags else None
            elements = object_elements(holder) if holder is not None else None
            found += [e.value for e in elements or () if e.key in keys]
        value = choose(random, found)
        return None if value is None or value.parent is None else without(document, value.parent)

    return missing_tag


def _breakable(rule: DenyRule) -> bool:
    """Say whether one line can break a rule: an argument of the resource itself has a value that it may not have."""
    return bool(rule.values) and bool(rule.argument) and "." not in rule.argument


def _with_denied_value(rules: list[DenyRule]) -> Breakage:
    def denied_value(document: Document, random: Random) -> str | None:
        """Set an argument to what the house denies."""
        meant = [(r, rule) for r in document.resources() for rule in rules if _speaks_of(rule, r)]
        chosen = choose(random, meant)
        if chosen is None:
            return None
        resource, rule = chosen
        value = f'"{escape(random.choice(rule.values))}"'  # terraform turns a string into what the argument takes
        attribute = resource.attribute(rule.argument)
        if attribute is None:
            return added(document, resource, f"{rule.argument} = {value}")
        return replaced(document, attribute.value.start_byte, attribute.value.end_byte, value)

    return denied_value


def _speaks_of(rule: DenyRule, resource: HclBlock) -> bool:
    attribute = resource.attribute(rule.argument)
    kept = attribute is None or as_string(literal(attribute.value)) not in rule.values
    return kept and any(fnmatchcase(resource.labels[0], pattern) for pattern in rule.types)
