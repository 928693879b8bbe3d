"""Instruction and input of conversations and of rows."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraform_engine.conversation import InputFrom, Question, Role, Turn, question_of, row_question

PROGRAM = 'resource "aws_sqs_queue" "q" {\n  name = "otter-lake"\n}'
VARIABLE = 'variable "name" {}'
BROKEN = 'resource "aws_sqs_queue" "q" {\n  name = \n'
WITH_FENCE = 'resource "aws_s3_object" "readme" {\n  content = <<EOT\n```sh\nmake\n```\nEOT\n}'
FIRST = Turn(Role.USER, "Create an SQS queue named otter-lake.")
NOBODY_ANSWERED = "the last message must be of role 'user': it is the instruction"


def system(text: str) -> Turn:
    return Turn(Role.SYSTEM, text)


def user(text: str) -> Turn:
    return Turn(Role.USER, text)


def assistant(text: str) -> Turn:
    return Turn(Role.ASSISTANT, text)


def fenced(text: str, marks: str = "```") -> str:
    return f"{marks}hcl\n{text}\n{marks}"


@pytest.mark.parametrize(
    ("message", "instruction", "given_input"),
    [
        pytest.param(f"Make it FIFO:\n{fenced(PROGRAM)}", "Make it FIFO:", PROGRAM, id="after the words"),
        pytest.param(f"{fenced(PROGRAM)}\n\nMake it FIFO.", "Make it FIFO.", PROGRAM, id="before the words"),
        pytest.param(f"Take\n{fenced('a: 1')}\nand go.", "Take\nand go.", "a: 1", id="between the words"),
        pytest.param(f"A queue.\n{fenced('named otter', '~~~')}", "A queue.", "named otter", id="prose within tildes"),
        pytest.param(
            f"Make it FIFO.\nmain.tf\n{fenced(PROGRAM)}\nvariables.tf\n{fenced(VARIABLE)}",
            "Make it FIFO.\nmain.tf\nvariables.tf",
            f"{PROGRAM}\n\n{VARIABLE}",
            id="several files",
        ),
        pytest.param(f"Explain.\n````md\n{fenced('x')}\ny\n````", "Explain.", f"{fenced('x')}\ny", id="a fence in it"),
        pytest.param(f"Mend.\n````md\n{fenced(PROGRAM)}\n````", "Mend.", PROGRAM, id="a fence around a fence"),
        pytest.param("A queue.\r\n```\r\na: 1\r\nb: 2\r\n```\r\n", "A queue.", "a: 1\nb: 2", id="lines of Windows"),
        pytest.param("- a queue:\n  ```\n  a: 1\n    b: 2\n  ```", "- a queue:", "a: 1\n  b: 2", id="in a list"),
        pytest.param(
            f"A.\n```\n```\n{fenced('a: 1')}", "A.\n```\n```", "a: 1", id="an empty fence stays, another is the input"
        ),
    ],
)
def test_fences_of_the_message_are_the_input(message: str, instruction: str, given_input: str) -> None:
    expected = Question(instruction, given_input, InputFrom.FENCE)
    assert question_of([user(message)]) == expected
    assert question_of([FIRST, assistant("locals {\n}\n"), user(message)]) == expected, "not the last answer"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("Create a queue.", id="no fence"),
        pytest.param(f"Make it FIFO:\n```hcl\n{PROGRAM}", id="a fence that is never closed"),
        pytest.param("Create a queue.\n```\n\n```", id="an empty fence"),
        pytest.param(fenced(PROGRAM), id="nothing but a fence"),
        pytest.param(f"{fenced('a')}\n{fenced('b')}", id="nothing but fences"),
    ],
)
def test_else_the_message_is_the_instruction(message: str) -> None:
    assert question_of([user(message)]) == Question(message, "", InputFrom.NONE)


@pytest.mark.parametrize(
    ("answer", "program"),
    [
        pytest.param(PROGRAM + "\n", PROGRAM, id="a bare program"),
        pytest.param(f"# by us\n{PROGRAM}", f"# by us\n{PROGRAM}", id="a program after a comment"),
        pytest.param(f"Here it is:\n{fenced(PROGRAM)}\nEnjoy.", PROGRAM, id="a program in a fence"),
        pytest.param(f"a\n{fenced(PROGRAM)}\nb\n{fenced(VARIABLE)}", f"{PROGRAM}\n\n{VARIABLE}", id="several files"),
        pytest.param(f"{fenced(PROGRAM)}\nRun:\n{fenced('make')}", PROGRAM, id="beside a fence of something else"),
        pytest.param(BROKEN, BROKEN.strip(), id="a program with errors"),
        pytest.param(WITH_FENCE, WITH_FENCE, id="a program whose text has a fence"),
        pytest.param(f"{PROGRAM}\r\n{VARIABLE}\r\n", f"{PROGRAM}\n{VARIABLE}", id="lines of Windows"),
        pytest.param("locals {\n  a = 1\n}", "locals {\n  a = 1\n}", id="a block without labels"),
        pytest.param(f"<think>\n{fenced(VARIABLE)}\n</think>\n{fenced(PROGRAM)}", PROGRAM, id="without its draft"),
    ],
)
def test_an_edit_has_the_program_of_the_last_answer(answer: str, program: str) -> None:
    turns = [FIRST, assistant(answer), user("Make it FIFO.")]
    assert question_of(turns) == Question("Make it FIFO.", program, InputFrom.CONVERSATION)


@pytest.mark.parametrize(
    "answer",
    ["", "In which region?", f"Run:\n{fenced('terraform apply')}", "A resource has a name.", "Use `resource`, then {."],
)
def test_an_answer_without_a_program_is_no_input(answer: str) -> None:
    turns = [FIRST, assistant(PROGRAM), user("Why?"), assistant(answer), user("Make it FIFO.")]
    assert question_of(turns) == Question("Make it FIFO.", "", InputFrom.NONE)


def test_the_last_of_several_answers_counts() -> None:
    turns = [FIRST, assistant(PROGRAM), user("Rename it."), assistant(VARIABLE), user("Wait."), user("Make it FIFO.")]
    assert question_of(turns) == Question("Make it FIFO.", VARIABLE, InputFrom.CONVERSATION)


def test_an_answer_to_a_message_that_is_only_a_fence_is_kept() -> None:
    error = fenced("Error: Missing required argument")
    turns = [FIRST, assistant(PROGRAM), user(error)]
    assert question_of(turns) == Question(error, PROGRAM, InputFrom.CONVERSATION)


def test_system_texts_stand_before_the_instruction() -> None:
    turns = [system("You are terse.\r\n"), FIRST, Turn(Role.DEVELOPER, " Only AWS. "), user("A queue."), system("Now.")]
    assert question_of(turns).instruction == "You are terse.\n\nOnly AWS.\n\nNow.\n\nA queue."
    assert question_of([system(" \n"), FIRST]).instruction == FIRST.text


def test_a_system_text_is_the_instruction_for_a_message_that_is_only_a_fence() -> None:
    turns = [system("Make it FIFO."), user(fenced(PROGRAM))]
    assert question_of(turns) == Question("Make it FIFO.", PROGRAM, InputFrom.FENCE)


def test_a_fence_in_a_system_text_stays_there() -> None:
    turns = [system(f"Write as here:\n{fenced(VARIABLE)}"), user("A queue.")]
    assert question_of(turns) == Question(f"Write as here:\n{fenced(VARIABLE)}\n\nA queue.", "", InputFrom.NONE)


@pytest.mark.parametrize(
    ("field", "given_input"),
    [
        ("name: otter\n", "name: otter"),
        ("a\r\nb", "a\nb"),
        (fenced(PROGRAM), PROGRAM),
        (f"{fenced(PROGRAM)}\n\n{fenced(VARIABLE)}\n", f"{PROGRAM}\n\n{VARIABLE}"),
        (f"Notes:\n{fenced('x')}", f"Notes:\n{fenced('x')}"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_an_explicit_input_wins(field: str, given_input: str) -> None:
    message = f"Make it FIFO:\n{fenced(PROGRAM)}"
    turns = [FIRST, assistant(VARIABLE), user(message)]
    assert question_of(turns, field) == Question(message, given_input, InputFrom.FIELD)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], NOBODY_ANSWERED),
        ([system("You are terse.")], NOBODY_ANSWERED),
        ([FIRST, assistant(PROGRAM)], NOBODY_ANSWERED),
        ([FIRST, assistant(PROGRAM), system("Go on.")], NOBODY_ANSWERED),
        ([system("You are terse."), user(" \n")], "the last message must not be empty: it is the instruction"),
    ],
)
def test_a_conversation_without_a_question_is_refused(turns: list[Turn], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        question_of(turns)


LINES = st.sampled_from(
    ["```", "```hcl", "  ```", "````", "~~~", "~~~tf", "- ```", "", " ", "Make it FIFO.", "  a: 1", "a: `1`", VARIABLE]
)
TEXTS = st.one_of(st.text(), st.lists(LINES).map("\n".join), st.lists(LINES).map("\r\n".join))
FENCE_LINE = re.compile(r"(?:[-*+]\s+|\d+[.)]\s+)?(?:`{3,}|~{3,}).*")


def words(*texts: str) -> Counter[str]:
    """The lines with something in them, without the white space around them."""
    return Counter(line.strip() for text in texts for line in re.split(r"[\r\n]", text) if line.strip())


@given(TEXTS.filter(str.strip))
def test_instruction_and_input_lose_nothing_but_lines_of_fences(message: str) -> None:
    found = question_of([user(message)])
    kept, asked = words(found.instruction, found.input), words(message)
    assert not kept - asked, "nothing is invented"
    assert all(FENCE_LINE.fullmatch(line) for line in asked - kept)
    assert found.instruction


@given(TEXTS.filter(str.strip), TEXTS)
def test_a_row_is_asked_by_the_field_as_it_was_trained(instruction: str, input_text: str) -> None:
    row = row_question(instruction, input_text)
    again = question_of([user(row.instruction)], row.input)
    assert (again.instruction, again.input) == (row.instruction, row.input)


@given(st.text().filter(str.strip), TEXTS.filter(str.strip))
def test_a_row_is_asked_by_a_fence_as_it_was_trained(instruction: str, input_text: str) -> None:
    row = row_question(instruction, input_text)
    asked = question_of([user(f"{fenced(row.input, '`````')}\n{row.instruction}")])
    assert (asked.instruction, asked.input) == (row.instruction, row.input)
