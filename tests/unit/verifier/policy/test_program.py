"""The house policy of a whole program with called and mirrored modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loraform_api.verification import DefaultTags, DenyRule, HousePolicy
from loraform_verifier.hcl.configuration import Configuration
from loraform_verifier.hcl.modules import Modules, modules_of
from loraform_verifier.hcl.parse import parse
from loraform_verifier.policy.program import check_program

RULE = {"name": "not-public", "types": ["aws_db_*"], "argument": "publicly_accessible", "values": ["true"]}
POLICY = HousePolicy(tags={"by": "us"}, deny=[DenyRule.model_validate(RULE)])
DATABASE = 'resource "aws_db_instance" "d" {\n  publicly_accessible = var.public\n  tags                = var.tags\n}\n'
CALL = 'module "%s" {\n  source = "%s"\n}\n'
GOOD = {"publicly_accessible": False, "tags": {"by": "us"}}
PUBLIC = {"publicly_accessible": True, "tags": {"by": "us"}}


def change(address: str, after: dict[str, Any], unknown: dict[str, Any] | None = None) -> dict[str, Any]:
    change = {"after": after, "after_unknown": unknown or {}}
    return {"mode": "managed", "address": address, "type": address.split(".")[-2], "name": "d", "change": change}


def judged(
    files: dict[str, str],
    changes: list[dict[str, Any]] | None,
    mirror: Path | None = None,
    policy: HousePolicy = POLICY,
) -> tuple[list[tuple[str | None, int | None, str]], list[tuple[str | None, int | None, str]]]:
    configuration = Configuration({name: parse(text) for name, text in files.items()})
    modules = modules_of(configuration, "registry.terraform.io", mirror)
    assert modules.refused == []
    plan = None if changes is None else {"resource_changes": changes}
    found = check_program(configuration, modules if plan else Modules(), plan, policy)
    broken, undecided = ([(d.file, d.line, d.message) for d in some] for some in (found.broken, found.undecided))
    return broken, undecided


def mirrored(folder: Path) -> Path:
    place = folder / "registry.terraform.io/acme/db/aws/1.0.0"
    (place / "deep").mkdir(parents=True)
    (place / "main.tf").write_text(DATABASE + CALL % ("deep", "./deep"))
    (place / "deep/main.tf").write_text(DATABASE)
    return folder


LOCAL = {"main.tf": CALL % ("one", "./db") + CALL % ("two", "./db"), "db/main.tf": DATABASE}


def test_a_local_module_is_checked_in_the_plan_of_every_call() -> None:
    one, two = change("module.one.aws_db_instance.d", GOOD), change("module.two[0].aws_db_instance.d", PUBLIC)
    assert judged(LOCAL, [one, change("module.two[0].aws_db_instance.d", GOOD)]) == ([], [])
    broken = "aws_db_instance.d: not-public: publicly_accessible may not be 'true'."
    assert judged(LOCAL, [one, two]) == ([("db/main.tf", 1, broken)], [])


def test_without_a_plan_a_local_module_is_undecided() -> None:
    broken, undecided = judged(LOCAL, None)
    assert (broken, [(file, line) for file, line, _ in undecided]) == ([], [("db/main.tf", 1)] * 2)


def test_a_mirrored_module_is_checked_in_the_plan_and_reported_at_its_call(tmp_path: Path) -> None:
    files = {"main.tf": CALL % ("net", "./net"), "net/main.tf": "\n" + CALL % ("db", "acme/db/aws")}
    inside = "module.net.module.db"
    good = [change(f"{inside}.aws_db_instance.d", GOOD), change(f"{inside}.module.deep.aws_db_instance.d", GOOD)]
    assert judged(files, good, mirrored(tmp_path)) == ([], [])
    bad = [good[0], change(f"{inside}.module.deep.aws_db_instance.d", {"publicly_accessible": True, "tags": None})]
    broken, undecided = judged(files, bad, tmp_path)
    deep = f"{inside}.module.deep.aws_db_instance.d"
    assert undecided == []
    assert broken == [
        ("net/main.tf", 2, f"{deep}: tag by is missing; it must be 'us'."),
        ("net/main.tf", 2, f"{deep}: not-public: publicly_accessible may not be 'true'."),
    ]


def test_a_mirrored_module_needs_no_comment_and_unknown_tags_are_undecided(tmp_path: Path) -> None:
    files = {"main.tf": CALL % ("db", "acme/db/aws")}
    policy = POLICY.model_copy(update={"comment": "# ours"})
    unknown = change("module.db.aws_db_instance.d", {}, {"tags": True, "publicly_accessible": True})
    broken, undecided = judged(files, [unknown], mirrored(tmp_path), policy)
    assert broken == []
    assert [message.split(" ")[0:3] for _, _, message in undecided] == [
        ["module.db.aws_db_instance.d:", "tag", "by"],
        ["module.db.aws_db_instance.d:", "not-public:", "publicly_accessible"],
    ]


def test_default_tags_reach_mirrored_modules(tmp_path: Path) -> None:
    counting = POLICY.model_copy(update={"default_tags": DefaultTags.COUNTED})
    provider = 'provider "aws" {\n  default_tags {\n    tags = %s\n  }\n}\n'
    files = {"main.tf": CALL % ("db", "acme/db/aws") + provider % "var.tags"}
    broken, undecided = judged(files, [change("module.db.aws_db_instance.d", {})], mirrored(tmp_path), counting)
    assert (broken, len(undecided)) == ([], 1)
