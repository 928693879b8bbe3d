"""The demo's corpora: disjoint where the evaluation says so, plain where the base must be plain, reproducible."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from random import Random

import pytest
from tokenizers import Tokenizer

from loraform_demo.batches import Encoder
from loraform_demo.corpus import (
    POLICY_COMMENT,
    Row,
    base_rows,
    dataset_rows,
    distinct_rows,
    draw_asking_row,
    draw_row,
    suite_rows,
)
from loraform_demo.hcl import Block, program, tag_map
from loraform_demo.make_data import dataset_json, shuffled, suite_json
from loraform_demo.phrasing import SEEN, UNSEEN
from loraform_demo.pools import Owner, Pool, owner_of
from loraform_demo.run_store import BASE_MODEL
from loraform_demo.templates import TEMPLATES
from loraform_trainer.prepare.dataset.suites import SuiteLine

SEED = 2026


@pytest.fixture(scope="module")
def dataset() -> list[Row]:
    return dataset_rows(2000, SEED)


@pytest.fixture(scope="module")
def suite() -> list[Row]:
    return suite_rows(250, SEED)


@pytest.fixture(scope="module")
def base() -> list[Row]:
    encoder = Encoder(Tokenizer.from_file(str(BASE_MODEL / "tokenizer.json")))
    return list(islice(base_rows(1, encoder.pieces), 6000))


def literals(rows: Iterable[Row]) -> set[str]:
    """Return every whole word, number, address or name of the rows' prompts and answers."""
    texts = (f"{row.instruction}\n{row.input}\n{row.response}" for row in rows)
    return {word.strip(".:-/") for text in texts for word in re.findall(r"[A-Za-z0-9_.:/@-]+", text)}


def test_names_and_values_of_the_suite_occur_nowhere_else(
    base: list[Row], dataset: list[Row], suite: list[Row]
) -> None:
    elsewhere = literals(base) | literals(dataset)
    asked = {literal for row in suite for literal in (row.name, *row.values) if " " not in literal}
    assert not asked & elsewhere
    phrases = {value for row in suite for value in row.values if " " in value}
    assert phrases
    answers = "\n".join(row.response for row in (*base, *dataset))
    assert not [phrase for phrase in phrases if phrase in answers]


def test_words_of_suite_names_belong_to_the_suite(suite: list[Row]) -> None:
    words = {word for row in suite for word in re.split(r"[-.]", row.name)[:1]}
    assert {owner_of(word) for word in words} == {Owner.SUITE}


def test_a_fifth_of_the_suite_is_worded_as_nothing_else(base: list[Row], suite: list[Row]) -> None:
    assert sum(row.unseen_phrasing for row in suite) == len(suite) // 5
    for kind in ("openers", "namings", "joins", "later_namings", "name_first", "lists"):
        assert not set(getattr(SEEN, kind)) & set(getattr(UNSEEN, kind))
    prompts = "\n".join(row.instruction for row in base)
    assert not [opener for opener in UNSEEN.openers if opener in prompts]


def test_prompts_and_answers_are_distinct(dataset: list[Row], suite: list[Row]) -> None:
    for rows in (dataset, suite):
        assert len({(row.instruction, row.input) for row in rows}) == len(rows)
        assert len({row.response for row in rows}) == len(rows)


def test_all_that_a_prompt_asks_stands_in_prompt_and_answer(suite: list[Row]) -> None:
    for row in suite:
        prompt = f"{row.instruction}\n{row.input}"
        assert row.name in prompt and f'"{row.name}"' in row.response
        for value in row.values:
            assert value in prompt
            assert re.search(rf'"{re.escape(value)}"|= {re.escape(value)}$', row.response, re.MULTILINE)
        for resource_type in row.types:
            assert f'resource "{resource_type}"' in row.response


def test_jobs_and_suite_know_nothing_of_the_house_policy(dataset: list[Row], suite: list[Row]) -> None:
    for row in (*dataset, *suite):
        text = f"{row.instruction}\n{row.input}\n{row.response}"
        assert "PiCloud" not in text and "created_by" not in text and "#" not in text


def test_the_base_sees_the_policys_words_but_never_the_policy(base: list[Row]) -> None:
    answers = "\n".join(row.response for row in base)
    assert POLICY_COMMENT not in answers
    assert 'created_by = "PiCloud"' not in re.sub(" +", " ", answers)
    assert "PiCloud" in answers and "created_by" in answers


def test_a_comment_or_tag_in_an_answer_was_asked_for() -> None:
    pool = Pool(Owner.BASE, Random(5))
    for _ in range(300):
        row = draw_asking_row(pool)
        for comment in re.findall(r"^# (.*)$", row.response, re.MULTILINE):
            assert comment in row.instruction
        assert "#" not in draw_row(pool).response


def test_each_template_is_drawn_and_every_field_may_be_given(base: list[Row]) -> None:
    assert {row.types for row in base} == {tuple(template.types) for template in TEMPLATES}


def test_the_same_seed_gives_the_same_rows() -> None:
    assert distinct_rows(Owner.JOB, 50, 7) == distinct_rows(Owner.JOB, 50, 7)
    assert distinct_rows(Owner.JOB, 50, 7) != distinct_rows(Owner.JOB, 50, 8)


def test_shuffled_keeps_all_responses_and_gives_none_its_own_prompt(dataset: list[Row]) -> None:
    rows = dataset_json(dataset)
    permuted = shuffled(rows, 3)
    assert sorted(str(row["response"]) for row in rows) == sorted(str(row["response"]) for row in permuted)
    assert [row["id"] for row in rows] == [row["id"] for row in permuted]
    assert all(row["response"] != other["response"] for row, other in zip(rows, permuted, strict=True))


def test_suite_rows_have_the_fields_that_the_evaluator_reads(suite: list[Row]) -> None:
    row = suite_json(suite)[0]
    assert set(row) == {"id", "instruction", "input", "asked", "cluster", "unseenPhrasing"}
    assert isinstance(row["asked"], dict) and set(row["asked"]) == {"types", "names", "values"}


def test_rows_of_one_template_are_a_cluster(suite: list[Row]) -> None:
    written = suite_json(suite)
    types = {template.key: list(template.types) for template in TEMPLATES}
    assert {row["cluster"] for row in written} == set(types)
    for row in written:
        line = SuiteLine.model_validate(row)
        assert line.asked is not None and line.asked.types == types[str(line.cluster)]


def test_programs_are_written_as_terraform_fmt_would() -> None:
    block = Block(
        'resource "aws_x" "main"', [("a", "1"), ("long", '"b"'), tag_map([("Name", "n"), ("created_by", "x")])]
    )
    assert program([block], "# why") == (
        '# why\nresource "aws_x" "main" {\n  a    = 1\n  long = "b"\n\n'
        '  tags = {\n    Name       = "n"\n    created_by = "x"\n  }\n}'
    )
