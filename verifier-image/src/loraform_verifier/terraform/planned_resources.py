"""Planned values by resource, for checks that the syntax tree cannot decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loraform_verifier.terraform.plan_json import without_keys

Json = Any
Plan = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class PlannedInstance:
    """One planned instance of a resource."""

    after: Mapping[str, Json]
    unknown: Json
    """Same shape as `after`; true for values that are known only after apply."""

    def tags(self, argument: str) -> dict[str, tuple[str | None, ...]] | None:
        """Return the values of each tag in an argument, with None for unknown ones; None if the plan has no tags."""
        if "tag" in self.after:  # aws_autoscaling_group, whose blocks may give a tag more than once
            by_key: dict[str, list[str | None]] = {}
            for block in self.after["tag"] or []:
                if block.get("key"):
                    by_key.setdefault(str(block["key"]), []).append(block.get("value"))
            return {key: tuple(values) for key, values in by_key.items()}
        unknown = self.unknown.get(argument) if isinstance(self.unknown, Mapping) else None
        if unknown is True or (argument not in self.after and not unknown):
            return None
        known: dict[str, str | None] = dict(self.after.get(argument) or {})
        known |= dict.fromkeys(key for key, is_unknown in (unknown or {}).items() if is_unknown is True)
        return {key: (value,) for key, value in known.items()}


@dataclass(frozen=True, slots=True)
class PlannedResources:
    """Planned instances by resource address without instance keys."""

    instances: dict[str, list[PlannedInstance]] = field(default_factory=dict)

    def below(self, prefixes: Iterable[str]) -> PlannedResources:
        """Return the resources below any of the address prefixes, with addresses relative to them."""
        below: dict[str, list[PlannedInstance]] = {}
        for prefix in prefixes:
            for address, instances in self.instances.items():
                if address.startswith(prefix):
                    below.setdefault(address.removeprefix(prefix), []).extend(instances)
        return PlannedResources(below)

    def values(self, address: str, path: str) -> tuple[list[Json], bool]:
        """Return the known values at an argument's path in all instances, and whether all values are known."""
        instances = self.instances.get(address, [])
        known = [value for instance in instances for value in values_at(instance.after, path) if value is not None]
        return known, bool(instances) and not any(_is_true(v) for i in instances for v in values_at(i.unknown, path))


NO_PLAN = PlannedResources()


def planned_resources(plan: Plan | None) -> PlannedResources:
    """Read the managed resources of a plan in the format of `terraform show -json`."""
    instances: dict[str, list[PlannedInstance]] = {}
    for change in (plan or {}).get("resource_changes", ()):
        if change.get("mode") == "managed":
            values = change.get("change", {})
            instance = PlannedInstance(values.get("after") or {}, values.get("after_unknown") or {})
            instances.setdefault(without_keys(change["address"]), []).append(instance)
    return PlannedResources(instances)


def values_at(value: Json, path: str) -> Iterator[Json]:
    """Yield the values at a dotted path; lists on the path and at its end are flattened."""
    head, _, rest = path.partition(".")
    for item in value if isinstance(value, list) else [value]:
        if item is True:
            yield True
        elif isinstance(item, Mapping) and head in item:
            below = item[head]
            if rest:
                yield from values_at(below, rest)
            else:
                yield from below if isinstance(below, list) else [below]


def _is_true(value: Json) -> bool:
    if isinstance(value, Mapping):
        return any(_is_true(v) for v in value.values())
    if isinstance(value, list):
        return any(_is_true(v) for v in value)
    return value is True
