"""What a plan says of single resources; where a plan was made it decides what the syntax tree could not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loraform_verifier.terraform.plan_json import without_keys

Json = Any
Plan = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Instance:
    """One planned instance of a resource."""

    after: Mapping[str, Json]
    unknown: Json
    """The same shape, true where a value is known only after apply."""

    def tags(self, argument: str) -> dict[str, str | None] | None:
        """Return the tags in an argument, None for a value not known yet; None when the plan does not tell."""
        if "tag" in self.after:  # aws_autoscaling_group
            return {str(t["key"]): t.get("value") for t in self.after["tag"] or [] if t.get("key")}
        unknown = self.unknown.get(argument) if isinstance(self.unknown, Mapping) else None
        if unknown is True or (argument not in self.after and not unknown):
            return None
        known: dict[str, str | None] = dict(self.after.get(argument) or {})
        return known | dict.fromkeys(key for key, hidden in (unknown or {}).items() if hidden is True)


@dataclass(frozen=True, slots=True)
class Planned:
    """The planned instances of resources, by address without keys."""

    instances: dict[str, list[Instance]] = field(default_factory=dict)

    def below(self, prefixes: Iterable[str]) -> Planned:
        """Return what is planned below any of the prefixes, seen from there: a module that is called more than once."""
        found: dict[str, list[Instance]] = {}
        for prefix in prefixes:
            for address, instances in self.instances.items():
                if address.startswith(prefix):
                    found.setdefault(address.removeprefix(prefix), []).extend(instances)
        return Planned(found)

    def values(self, address: str, path: str) -> tuple[list[Json], bool]:
        """Return the known values at an argument's path in all instances, and whether these are all values there."""
        instances = self.instances.get(address, [])
        known = [value for instance in instances for value in at(instance.after, path) if value is not None]
        return known, bool(instances) and not any(_is_true(v) for i in instances for v in at(i.unknown, path))


NO_PLAN = Planned()


def planned(plan: Plan | None) -> Planned:
    """Read a plan as `terraform show -json` writes it."""
    found: dict[str, list[Instance]] = {}
    for change in (plan or {}).get("resource_changes", ()):
        if change.get("mode") == "managed":
            what = change.get("change", {})
            instance = Instance(what.get("after") or {}, what.get("after_unknown") or {})
            found.setdefault(without_keys(change["address"]), []).append(instance)
    return Planned(found)


def at(value: Json, path: str) -> Iterator[Json]:
    """Yield what stands at a dotted path, through every element of lists on the way and at its end."""
    head, _, rest = path.partition(".")
    for item in value if isinstance(value, list) else [value]:
        if item is True:
            yield True
        elif isinstance(item, Mapping) and head in item:
            below = item[head]
            if rest:
                yield from at(below, rest)
            else:
                yield from below if isinstance(below, list) else [below]


def _is_true(value: Json) -> bool:
    if isinstance(value, Mapping):
        return any(_is_true(v) for v in value.values())
    if isinstance(value, list):
        return any(_is_true(v) for v in value)
    return value is True
