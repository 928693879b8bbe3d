"""Hostile programs in runs that callers share: each caller gets the verdict it has alone, and nothing of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from loraform_api.verification import Program, ProgramVerdict, Stage, VerifyRequest
from loraform_verifier.http.queue import Queue, Verifiers
from loraform_verifier.sandbox import isolation
from loraform_verifier.terraform.batch import ALONE, SHARED
from loraform_verifier.terraform.provider_server import ProviderServers
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.warm_up import WarmUp
from loraform_verifier.verify import Verifier

from ..listening import Listeners
from .attacks import ALL, BOMBS, DRAWN, Attack, Must
from .conftest import Planted
from .test_escape_programs import STAGES, armed, outcome

SECONDS = 300.0
VALID = [Stage.PARSE, Stage.VALIDATE]
SLOW_BOMB = next(attack for attack in BOMBS if attack.name == "loops over loops")


def innocent(number: int) -> tuple[str, bool]:
    """Return a program that names itself, and whether it is right."""
    argument = "input" if number % 2 else "inputt"
    return f'resource "terraform_data" "innocent_{number}" {{\n  {argument} = "text of {number}"\n}}\n', bool(
        number % 2
    )


@pytest.fixture(scope="module")
def verifiers(terraform: Terraform) -> Iterator[tuple[Verifiers, WarmUp]]:
    with ProviderServers(terraform) as servers:
        new = partial(Verifier, terraform, servers=servers)
        yield Verifiers(new(), new(deadlines=ALONE), new(deadlines=SHARED)), WarmUp(terraform, servers)


@pytest.fixture
async def queue(verifiers: tuple[Verifiers, WarmUp]) -> AsyncIterator[Queue]:
    made = Queue(*verifiers)
    task = asyncio.create_task(made.run())
    async with asyncio.timeout(SECONDS):
        while not made.ready:  # noqa: ASYNC110 - it says nothing when it is
            await asyncio.sleep(0.05)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def ask(queue: Queue, program: Program, stages: list[Stage]) -> ProgramVerdict:
    request = VerifyRequest(programs=[program], stages=stages, within=SECONDS)
    (verdict,) = (await queue.submit(request)).verdicts
    return verdict.model_copy(update={"seconds": 0})


async def in_company(queue: Queue, hostile: list[Program], stages: list[Stage]) -> list[ProgramVerdict]:
    """Verify hostile programs of one caller each, with innocent ones of others; check what those get."""
    innocents = [innocent(number) for number in range(8)]
    programs = [Program(id=f"caller {number}", text=text) for number, (text, _) in enumerate(innocents)]
    asked = [ask(queue, program, stages) for program in (*programs[:4], *hostile, *programs[4:])]
    verdicts = await asyncio.gather(*asked)
    bad = verdicts[4 : 4 + len(hostile)]
    good = [*verdicts[:4], *verdicts[4 + len(hostile) :]]
    assert [verdict.passed for verdict in good] == [right for _, right in innocents]
    assert not any(stage.inconclusive for verdict in good for stage in verdict.stages)
    for number, verdict in enumerate(good):
        said = verdict.model_dump_json()
        assert verdict.id == f"caller {number}"
        assert not any(f"of {n}" in said or f"innocent_{n}" in said for n in range(8) if n != number)
    for verdict in bad:
        assert "innocent" not in verdict.model_dump_json()
    return bad


async def test_hostile_programs_in_shared_runs_get_the_verdicts_that_they_have_alone(
    queue: Queue, planted: Planted, listeners: Listeners
) -> None:
    attacks = [attack for attack in DRAWN if attack not in BOMBS][::2]
    programs = [armed(a, planted, listeners).model_copy(update={"id": a.name}) for a in attacks]
    shared = await in_company(queue, programs, STAGES)
    assert {v.id: outcome(v) for v in shared} == {a.name: a.must for a in attacks}
    assert planted.mark not in "".join(v.model_dump_json() for v in shared)


@pytest.mark.slow
async def test_all_hostile_programs_in_shared_runs(queue: Queue, planted: Planted, listeners: Listeners) -> None:
    attacks = [attack for attack in ALL if attack not in BOMBS]
    programs = [armed(a, planted, listeners).model_copy(update={"id": a.name}) for a in attacks]
    shared = await in_company(queue, programs, STAGES)
    assert {v.id: outcome(v) for v in shared} == {a.name: a.must for a in attacks}
    alone = [await ask(queue, program, STAGES) for program in programs]
    assert shared == alone


@pytest.mark.parametrize(
    "attack", [pytest.param(a, id=a.name, marks=[] if a.name == "wide format" else [pytest.mark.slow]) for a in BOMBS]
)
async def test_a_bomb_changes_no_verdict_of_others(
    queue: Queue, planted: Planted, listeners: Listeners, attack: Attack
) -> None:
    (verdict,) = await in_company(queue, [armed(attack, planted, listeners)], VALID)
    assert outcome(verdict) is Must.BOUNDED or outcome(verdict) is attack.must


async def test_a_run_whose_callers_have_gone_is_killed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = asyncio.Event(), list[str]()
    loop, run = asyncio.get_running_loop(), isolation.run

    def watched(*arguments: object, **options: object) -> isolation.Finished:
        if queue._run is not None:  # otherwise a provider is prepared, which no caller's leaving ends
            loop.call_soon_threadsafe(started.set)
        try:
            return run(*arguments, **options)  # type: ignore[arg-type] # passed on as they came
        except isolation.Stopped:
            ended.append("stopped")
            raise

    monkeypatch.setattr(isolation, "run", watched)
    programs = [SLOW_BOMB.text, innocent(1)[0]]
    leavers = [asyncio.create_task(ask(queue, Program(id="gone", text=text), VALID)) for text in programs]
    await asyncio.wait_for(started.wait(), 60)
    for leaver in leavers:
        leaver.cancel()
    await asyncio.gather(*leavers, return_exceptions=True)
    fresh = await ask(queue, Program(id="fresh", text=innocent(3)[0]), VALID)
    assert fresh.passed
    assert ended == ["stopped"]
