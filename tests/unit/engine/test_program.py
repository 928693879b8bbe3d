"""The one rule for fences and thoughts, as a table: a model's text and the program in it."""

from __future__ import annotations

from time import process_time

import pytest

from loraform_engine.program import ProgramInText, program_in

BUCKET = 'resource "aws_s3_bucket" "b" {\n  bucket = "logs"\n}\n'
QUEUE = 'resource "aws_sqs_queue" "q" {\n  name = "jobs"\n}\n'
README = f'output "help" {{\n  value = <<-EOT\n    ```bash\n    terraform init\n    ```\n  EOT\n}}\n\n{BUCKET}'
COMMENTED = f"/*\n```\nmake\n```\n*/\n{BUCKET}"
THINKS = "locals {\n  prompt = <<EOT\n<think>\nSay why.\n</think>\nEOT\n}\n"


def fenced(program: str, language: str = "hcl", mark: str = "```") -> str:
    return f"{mark}{language}\n{program}{mark}\n"


TABLE: dict[str, tuple[str, str]] = {
    "a plain program": (BUCKET, BUCKET),
    "a plain program with white space around": (f"\n\n{BUCKET}\n", f"\n\n{BUCKET}\n"),
    "nothing": ("", ""),
    "one fence": (fenced(BUCKET), BUCKET),
    "a fence of Windows lines": (fenced(BUCKET).replace("\n", "\r\n"), BUCKET.replace("\n", "\r\n")),
    "a fence without a mark": (fenced(BUCKET, ""), BUCKET),
    "a fence with a title": (fenced(BUCKET, 'terraform title="main.tf"'), BUCKET),
    "a fence named after its file": (fenced(BUCKET, "main.tf") + fenced("plan", ""), BUCKET),
    "a fence marked in capitals": (fenced(BUCKET, "HCL") + fenced("locals {\n}\n", ""), BUCKET),
    "a fence of tildes": (fenced(BUCKET, "tf", "~~~"), BUCKET),
    "a longer mark around a shorter one": (fenced(f"{BUCKET}# ```\n", "hcl", "````"), f"{BUCKET}# ```\n"),
    "a fence that closes behind the last line": (f"```hcl\n{BUCKET.rstrip()}```", BUCKET),
    "a fence that is not closed": (f"```hcl\n{BUCKET}", BUCKET),
    "an empty fence": ("Sure:\n```hcl\n```\n", "Sure:\n```hcl\n```\n"),
    "an empty fence that is not closed": ("Sure:\n```hcl\n", "Sure:\n```hcl\n"),
    "a fence in a list": (
        f"- main.tf\n\n  ```hcl\n  {BUCKET.replace(chr(10), chr(10) + '  ').rstrip()}\n  ```\n",
        BUCKET,
    ),
    "a fence around fences": (f"````md\nSure:\n{fenced(BUCKET)}````\n", BUCKET),
    "a fence that is not closed around fences": (f"````md\nSure:\n{fenced(BUCKET)}", BUCKET),
    "a fence in a comment of a plain program": (
        f"/*\n```\nmake\n```\n*/\n{BUCKET}",
        f"/*\n```\nmake\n```\n*/\n{BUCKET}",
    ),
    "prose around a fence": (f"Sure, here it is:\n\n{fenced(BUCKET)}\nRun it.", BUCKET),
    "two files": (f"main.tf:\n{fenced(BUCKET)}queue.tf:\n{fenced(QUEUE, 'terraform')}", f"{BUCKET}\n{QUEUE}"),
    "two files without a mark": (fenced(BUCKET, "") + fenced(QUEUE, ""), f"{BUCKET}\n{QUEUE}"),
    "commands beside a file": (f"{fenced('terraform init', 'bash')}{fenced(BUCKET)}", BUCKET),
    "commands that are longer than the file": (fenced("terraform apply\n" * 20, "sh") + fenced(BUCKET), BUCKET),
    "commands beside a file without a mark": (fenced("terraform init\n", "bash") + fenced(BUCKET, ""), BUCKET),
    "a tree of folders beside a file": (fenced(".\n\u2514\u2500\u2500 main.tf\n", "") + fenced(BUCKET, ""), BUCKET),
    "values of variables beside a file": (fenced(BUCKET) + fenced('region = "eu-west-1"\n'), BUCKET),
    "values alone": (fenced('region = "eu-west-1"\n'), 'region = "eu-west-1"\n'),
    "a fence with another mark alone": (fenced(BUCKET, "ruby"), BUCKET),
    "a draft in a thought": (f"<think>\nMaybe:\n{fenced(QUEUE)}</think>\n\n{fenced(BUCKET)}", BUCKET),
    "a plain draft in a thought": (f"<think>{QUEUE}</think>{BUCKET}", BUCKET),
    "an empty thought": (f"<think>\n\n</think>\n\n{BUCKET}", f"\n{BUCKET}"),
    "a thought after a word": (f"Let me see.\n<think>\n{fenced(QUEUE)}</think>\n{fenced(BUCKET)}", BUCKET),
    "two thoughts": (f"<think>a</think>\n<think>{QUEUE}</think>\n{BUCKET}", BUCKET),
    "two thoughts in one line": (f"<think>a</think> <think>\n{fenced(QUEUE)}</think>\n{fenced(BUCKET)}", BUCKET),
    "a thought that the prompt opened": (f"Maybe:\n{fenced(QUEUE)}So.\n</think>\n{fenced(BUCKET)}", BUCKET),
    "an answer in the line that ends such a thought": (f"{fenced(QUEUE)}</think>Then:\n{fenced(BUCKET)}", BUCKET),
    "an open fence in a thought that the prompt opened": (f"```hcl\n{QUEUE}</think>\n{fenced(BUCKET)}", BUCKET),
    "a fence in a heredoc": (README, README),
    "a fence in a heredoc of a fence": (f"Here:\n{fenced(README)}", README),
    "a thought in a heredoc": (THINKS, THINKS),
    "a thought in a string": ('a = "</think> <think>"\n', 'a = "</think> <think>"\n'),
}


@pytest.mark.parametrize(("text", "program"), TABLE.values(), ids=TABLE)
def test_the_program_in_a_text(text: str, program: str) -> None:
    assert program_in(text) == ProgramInText(program)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nMaybe:\n{fenced(BUCKET)}",
        f"<think>{BUCKET}",
        f"Well.\n<think>\n{BUCKET}",
        f"<think>a</think>\n<think>{BUCKET}",
        f"<think>a</think><think>\n{fenced(BUCKET)}",
    ],
    ids=["with a fence", "plain", "after a word", "the second", "the second of a line"],
)
def test_a_thought_that_is_not_closed_is_truncated(text: str) -> None:
    assert program_in(text) == ProgramInText(text, truncated=True)


@pytest.mark.parametrize("text", [BUCKET, fenced(BUCKET), f"```hcl\n{BUCKET[:20]}", f"{fenced(BUCKET)}Then"])
def test_a_text_that_ended_at_a_limit_is_truncated(text: str) -> None:
    assert program_in(text, truncated=True) == ProgramInText(text, truncated=True)


LONG = 200_000
"""Characters that the verifier accepts at most."""


@pytest.mark.parametrize(
    "piece",
    [
        "x <<EOT\n",
        "```a\n",
        "<think>\n",
        "</think>",
        "<think></think>",
        "resource ",
        "~~~~",
        "````",
        "    ",
        "<<a ",
        '"',
        "a",
        "```a` ",
    ],
)
def test_a_long_text_is_read_in_linear_time(piece: str) -> None:
    """Each takes a tenth of a second; a scan that goes back would take hours."""
    repeated = piece * (LONG // len(piece))
    before = process_time()
    for text in (repeated, f"```hcl\n{repeated}!", f"```{repeated}`", f"~~~{repeated}`", f"a <<{repeated}!\n"):
        program_in(text)
    assert process_time() - before < 10


def test_fences_around_fences_are_read_to_a_limit() -> None:
    """A text of a request's size has room for a thousand, each of which is one more scan of the whole."""
    text = BUCKET
    for length in range(3, 500):
        for mark in ("~" * length, "`" * length):
            text = f"{mark}\n{text}{mark}\n"
    before = process_time()
    assert program_in(text).text.startswith("````")
    assert process_time() - before < 1
