"""Objects of requests whose fields are all known."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, model_validator


class Closed(BaseModel):
    """Refuses the first unknown field and looks at no others: errors for a hundred thousand take a second."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _first_unknown(cls, fields: object) -> object:
        if not isinstance(fields, Mapping):
            return fields
        known = {name: value for name, value in fields.items() if name in cls.model_fields}
        first = next((name for name in fields if name not in known), None)
        return known if first is None else {**known, first: fields[first]}
