"""A new field of a spec is read, keyed and documented; forgetting a place is found here."""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from loraform_api.dataset import DatasetChecks, DatasetSpec, Decontaminate, Deduplicate
from loraform_api.finetunejob import FineTuneJobSpec, Toleration
from loraform_api.iacmodel import IaCModelSpec

ROOT = Path(__file__).resolve().parents[2]
READERS = ("engine", "operator", "trainer-image", "verifier-image", "gateway-image")
PREPARE = ROOT / "trainer-image" / "src" / "loraform_trainer" / "prepare"
DUMPED_WHOLE: set[type[BaseModel]] = {Toleration}
"""Models whose fields go into an object of Kubernetes without being named."""
NOT_IN_THE_ROWS = {"base_model", "cache"}
"""Fields that `prepare` reads and that do not change the rows (the tokenizer is in the row cache's key by its hash)."""
IN_THE_KEY = {"dataset", "evaluation.suites", "training.max_sequence_length", "training.seed"}
"""Fields of the spec that are in the row cache's key, by `_cache_key` of `prepare/stage.py`."""
CHAIN = re.compile(r"\bspec\.(\w+)(?:\.(\w+))?")


def nodes(folder: Path) -> Iterator[ast.AST]:
    for path in folder.rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def models(annotation: Any, found: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """Return all models in `annotation`, and those of their fields."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in found:
            found.add(annotation)
            for field in annotation.model_fields.values():
                models(field.annotation, found)
    else:
        for argument in typing.get_args(annotation):
            models(argument, found)
    return found


def names_read() -> set[str]:
    names: set[str] = set()
    for folder in READERS:
        for node in nodes(ROOT / folder / "src"):
            match node:
                case ast.Attribute(attr=attr):
                    names.add(attr)
                case ast.MatchClass(kwd_attrs=attrs):
                    names.update(attrs)
                case _:
                    pass
    return names


def fields_that_prepare_reads() -> Iterator[str]:
    """Yield what `prepare` reads of a FineTuneJob's spec, as `field` or `field.field`."""
    for path in PREPARE.rglob("*.py"):
        attributes = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Attribute)]
        inner = {id(node.value) for node in attributes}
        for text in (ast.unparse(node) for node in attributes if id(node) not in inner):
            match = CHAIN.search(text)
            if match and match[1] in FineTuneJobSpec.model_fields:
                yield f"{match[1]}.{match[2]}" if match[2] else match[1]


def test_every_field_of_a_spec_is_read_somewhere() -> None:
    """By name alone: a field that shares its name with something else is not found."""
    fields = {
        f"{model.__name__}.{field}"
        for model in models(FineTuneJobSpec, models(IaCModelSpec, set())) - DUMPED_WHOLE
        for field in model.model_fields
    }
    read = names_read()
    assert {name for name in fields if name.partition(".")[2] not in read} == set()


def test_what_prepare_reads_is_in_the_key_of_the_row_cache() -> None:
    """A field that changes the rows must be in the key, or runs get rows that were prepared without it."""
    known = IN_THE_KEY | NOT_IN_THE_ROWS
    assert {f for f in fields_that_prepare_reads() if f not in known and f.partition(".")[0] not in known} == set()


def test_every_check_of_the_rows_is_documented_and_in_the_example() -> None:
    page = (ROOT / "docs" / "dataset.md").read_text(encoding="utf-8")
    example = yaml.safe_load((ROOT / "examples" / "data-checks" / "finetunejob.yaml").read_text(encoding="utf-8"))
    shown = example["spec"]["dataset"]
    for model, name in ((DatasetChecks, "checks"), (Deduplicate, "deduplicate"), (Decontaminate, "decontaminate")):
        aliases = {field.alias or key for key, field in model.model_fields.items()}
        assert set(shown[name]) == aliases, f"examples/data-checks: {name}"
        assert [a for a in aliases if f"`{name}.{a}`" not in page and f"`{a}`" not in page] == [], "docs/dataset.md"
    aliases = {field.alias or key for key, field in DatasetSpec.model_fields.items()}
    assert set(shown) == aliases, "examples/data-checks: dataset"
