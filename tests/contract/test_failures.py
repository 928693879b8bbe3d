"""Trainer, operator and documentation agree with the one table of failures."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import loraform_operator
import loraform_trainer
from loraform_api.failures import FAILURES, ExitCode, FailureClass
from loraform_generate.failures import with_table
from loraform_trainer.runtime.errors import StageError

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = Path(loraform_operator.__file__).parent
POLICIES = [OPERATOR / "finetunejob" / name for name in ("policies.py", "spec_policies.py")]
REASON = re.compile(r"[A-Z][a-z]+(?:[A-Z]+[a-z]+)+")


def trainers_errors() -> Iterator[type[StageError]]:
    """Yield every error class of the trainer that has an exit code of its own."""
    for module in pkgutil.walk_packages(loraform_trainer.__path__, "loraform_trainer."):
        if module.name.endswith(".errors"):
            importlib.import_module(module.name)
    kinds = [StageError]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if "code" in vars(kind):
            yield kind


def nodes_of(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def members_used() -> Iterator[FailureClass]:
    """Yield the failure classes that the operator's code names."""
    for path in OPERATOR.rglob("*.py"):
        for node in nodes_of(path):
            match node:
                case ast.Attribute(value=ast.Name(id="FailureClass"), attr=attr):
                    yield FailureClass[attr]
                case _:
                    pass


def reasons_written_out() -> Iterator[str]:
    """Yield the reasons that the run's policies pass as text, instead of a failure class."""
    for node in (node for path in POLICIES for node in nodes_of(path)):
        match node:
            case ast.Call(args=[ast.Constant(value=str(text)), *_]) if REASON.fullmatch(text):
                yield text
            case _:
                pass


def test_every_error_class_of_the_trainer_has_a_row() -> None:
    names = {kind.__name__: kind.code for kind in trainers_errors()}
    rows = {f"{row.name}Error": row.exit_code for row in FAILURES if row.exit_code is not None}
    assert names.pop("StageError") == rows.pop("TrainerErrorError") == ExitCode.TRAINER_ERROR
    assert names == rows


def test_every_error_class_of_the_trainer_is_used() -> None:
    used = {
        node.id
        for path in Path(loraform_trainer.__file__).parent.rglob("*.py")
        for node in nodes_of(path)
        if isinstance(node, ast.Name)
    }
    assert {kind.__name__ for kind in trainers_errors()} <= used


def test_every_reason_of_the_operator_has_a_row() -> None:
    assert {row.name for row in FAILURES if row.exit_code is None} <= set(members_used())
    assert set(reasons_written_out()) == {"InvalidSpec"}, "a failure class needs a row, and this one is none"


def test_the_documented_table_is_the_real_one() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert with_table(page) == page
