"""Each process computes its share of a step, and all know what the whole step holds."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from loraform_api.training import TrainingSpec
from loraform_trainer.runtime.group import TrainingGroup
from loraform_trainer.train.estimate.flops import Work
from loraform_trainer.train.steps import Plan, Steps, packs_of, spread
from loraform_trainer.train.token_rows import Rows


class Member(TrainingGroup):
    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def rows(count: int) -> Rows:
    """Row i is i + 1 times its own number, half of it response."""
    lists = pa.list_(pa.int32())
    chance = np.random.default_rng(1)
    lengths = chance.integers(1, 12, count).tolist()
    return Rows(
        pa.table(
            {
                "id": [str(i) for i in range(count)],
                "prompt_ids": pa.array([[i] * n for i, n in enumerate(lengths)], lists),
                "response_ids": pa.array([[i] * (n + 1) for i, n in enumerate(lengths)], lists),
            }
        )
    )


TRAINING = TrainingSpec(epochs=2, batch_size=5, max_sequence_length=64)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_processes_together_see_each_row_once_an_epoch(size: int) -> None:
    table = rows(43)
    plan = Plan.of(table, TRAINING, size)
    assert plan.packs_a_step % size == 0
    members = [Steps(table, plan, Member(rank, size)) for rank in range(size)]
    for epoch in range(2):
        seen: Counter[int] = Counter()
        for number in range(epoch * plan.steps_an_epoch, (epoch + 1) * plan.steps_an_epoch):
            shares = [member[number] for member in members]
            assert len({(s.labels, s.tokens, s.squares, len(s.packs)) for s in shares}) == 1
            packs = [pack for share in shares for pack in share.packs]
            assert sum(len(pack.labels) for pack in packs) == shares[0].labels
            learnt = [pack for pack in packs if len(pack.labels)]
            assert sum(pack.tokens for pack in learnt) == shares[0].tokens
            for pack in learnt:
                seen.update(pack.input_ids[0].tolist())
        assert seen == Counter({i: int(n) for i, n in enumerate(table.lengths)})


def test_epochs_differ_and_a_step_is_the_same_whenever_it_is_asked_for() -> None:
    table = rows(43)
    plan = Plan.of(table, TRAINING)
    steps = Steps(table, plan, Member(0, 1))
    first = [steps[i].packs[0].input_ids.tolist() for i in range(len(steps))]
    assert first[: plan.steps_an_epoch] != first[plan.steps_an_epoch :]
    again = Steps(table, plan, Member(0, 1))
    assert again[plan.steps_an_epoch + 1].packs[0].input_ids.tolist() == first[plan.steps_an_epoch + 1]


def test_a_step_can_be_made_by_a_loaders_own_process() -> None:
    table = rows(43)
    step = Steps(table, Plan.of(table, TRAINING), Member(0, 1))[0]
    again = pickle.loads(pickle.dumps(step))
    assert again.packs[0].input_ids.tolist() == step.packs[0].input_ids.tolist()
    assert (again.labels, again.tokens) == (step.labels, step.tokens)


def test_tokens_learnt_are_counted_to_the_step() -> None:
    table = rows(43)
    steps = Steps(table, Plan.of(table, TRAINING), Member(0, 1))
    for count in range(len(steps) + 1):
        assert steps.learnt(count) == sum(steps[i].labels for i in range(count))


def test_the_plan_is_said_in_one_line() -> None:
    table = rows(43)
    plan = Plan.of(table, TRAINING)
    assert plan.describe(43) == (
        f"43 rows fill {plan.packing.packs} packs of {plan.packing.capacity} tokens to {plan.packing.fill:.2%};"
        f" a step takes {plan.packs_a_step}, that is {43 / plan.steps_an_epoch:.1f} rows on average;"
        f" {plan.steps_an_epoch} steps an epoch, {2 * plan.steps_an_epoch} in all"
    )


def test_rows_for_a_loss_alone_are_packed_whole() -> None:
    table = rows(10)
    packs = packs_of(table, spread(10, 4), 20)
    assert sorted({i for pack in packs for i in pack.input_ids[0].tolist()}) == [0, 2, 5, 7]
    assert spread(0, 4).tolist() == []
    assert spread(3, 500).tolist() == [0, 1, 2]
    assert packs_of(table, spread(0, 4), 20) == []


def test_rows_are_read_across_record_batches() -> None:
    table = rows(7)
    one = Rows(pa.concat_tables([_table(table, range(3)), _table(table, range(0)), _table(table, range(3, 7))]))
    assert [row.prompt_ids for row in one] == [row.prompt_ids for row in table]
    assert one[6].id == "6"
    assert one.lengths.tolist() == table.lengths.tolist()
    with pytest.raises(IndexError):
        one[7]


def _table(table: Rows, numbers: range) -> pa.Table:
    chosen = [table[i] for i in numbers]
    lists = pa.list_(pa.int32())
    return pa.table(
        {
            "id": pa.array([row.id for row in chosen], pa.string()),
            "prompt_ids": pa.array([row.prompt_ids for row in chosen], lists),
            "response_ids": pa.array([row.response_ids for row in chosen], lists),
        }
    )


def test_work_is_four_operations_for_a_frozen_weight_and_six_for_an_adapters() -> None:
    work = Work(base=100, adapter=10, head=50, attention=8)
    assert work.of_step(tokens=7, labels=3, squares=25) == 7 * 460 + 3 * 200 + 6 * 25 * 8
