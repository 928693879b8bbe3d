"""What stands below the fields of a model, for definitions and reference.

pydantic can read it too, but then each process reads the source of each model at its start.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core.core_schema import ModelSchema
from typing_extensions import override


def of_fields(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a model's fields by name, those of its bases too."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            found |= _in_body(cls)
    return found


def _in_body(cls: type[BaseModel]) -> dict[str, str]:
    parsed = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = [statement for part in parsed.body if isinstance(part, ast.ClassDef) for statement in part.body]
    found = {}
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
            case _:
                pass
    return found


class Documented(GenerateJsonSchema):
    """JSON Schema whose properties are described by the docstrings of their fields."""

    @override
    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        made = super().model_schema(schema)
        model = schema["cls"]
        for name, text in of_fields(model).items():
            alias = model.model_fields[name].alias or name
            if alias in made.get("properties", {}):
                made["properties"][alias]["description"] = text
        return made
