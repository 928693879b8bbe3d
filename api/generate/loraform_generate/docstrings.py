"""Reads the docstrings below the fields of models, for CRDs and API reference.

Pydantic can read them too, but then every process parses the source of each model at its start.
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
    """Return the docstrings of a model's fields by name, including those of its bases."""
    docstrings: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, BaseModel) and cls is not BaseModel:
            docstrings |= _in_body(cls)
    return docstrings


def _in_body(cls: type[BaseModel]) -> dict[str, str]:
    parsed = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    body = [statement for part in parsed.body if isinstance(part, ast.ClassDef) for statement in part.body]
    docstrings = {}
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docstrings[name] = inspect.cleandoc(text)
            case _:
                pass
    return docstrings


class Documented(GenerateJsonSchema):
    """JSON Schema generator that uses the docstrings of fields as descriptions."""

    @override
    def model_schema(self, schema: ModelSchema) -> dict[str, Any]:
        generated = super().model_schema(schema)
        model = schema["cls"]
        for name, text in of_fields(model).items():
            alias = model.model_fields[name].alias or name
            if alias in generated.get("properties", {}):
                generated["properties"][alias]["description"] = text
        return generated
