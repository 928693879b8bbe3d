"""What a plan says of single resources; where a plan was made it decides what the syntax tree could not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
Plan = Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Instance:
    """One planned instance of a resource."""

    after: Mapping[str, Json]
    unknown: Json
    """The same shape, true where a value is known only after apply."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The planned instances of the root module's resources, by address without index."""

    instances: dict[str, list[Instance]] = field(default_factory=dict)

    def tags(self, address: str, *, with_defaults: bool) -> list[dict[str, str | None]] | None:
        """Return the tags of each instance, None for a value not known yet; None when the plan cannot tell."""
        found = []
        for instance in self.instances.get(address, []):
            tags = _tags(instance, with_defaults=with_defaults)
            if tags is None:
                return None
            found.append(tags)
        return found or None

    def values(self, address: str, path: str) -> list[Json] | None:
        """Return all values at an argument's path in all instances; None when the plan cannot tell."""
        instances = self.instances.get(address)
        if not instances or any(any(_is_true(v) for v in at(i.unknown, path)) for i in instances):
            return None
        return [value for instance in instances for value in at(instance.after, path) if value is not None]


NO_PLAN = Planned()


def planned(plan: Plan | None) -> Planned:
    """Read a plan as `terraform show -json` writes it."""
    found: dict[str, list[Instance]] = {}
    for change in (plan or {}).get("resource_changes", ()):
        if change.get("mode") == "managed" and not change.get("module_address"):
            what = change.get("change", {})
            instance = Instance(what.get("after") or {}, what.get("after_unknown") or {})
            found.setdefault(f"{change['type']}.{change['name']}", []).append(instance)
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


def _tags(instance: Instance, *, with_defaults: bool) -> dict[str, str | None] | None:
    if "tag" in instance.after:  # aws_autoscaling_group
        return {str(t["key"]): t.get("value") for t in instance.after["tag"] or [] if t.get("key")}
    name = "tags_all" if with_defaults else "tags"
    unknown = instance.unknown.get(name) if isinstance(instance.unknown, Mapping) else None
    if unknown is True:
        return None
    known: dict[str, str | None] = dict(instance.after.get(name) or {})
    return known | dict.fromkeys(key for key, hidden in (unknown or {}).items() if hidden is True)


def _is_true(value: Json) -> bool:
    if isinstance(value, Mapping):
        return any(_is_true(v) for v in value.values())
    if isinstance(value, list):
        return any(_is_true(v) for v in value)
    return value is True
