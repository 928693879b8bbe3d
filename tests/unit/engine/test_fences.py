"""Fences in Markdown text, as CommonMark has them."""

from __future__ import annotations

import time

import pytest

from loraform_engine.fences import Fence, Fenced, split_fences

BODY = 'resource "a" "b" {\n}'


def texts(fenced: Fenced) -> tuple[str, ...]:
    return tuple(block.text for block in fenced.blocks)


@pytest.mark.parametrize(
    ("text", "outside", "blocks"),
    [
        pytest.param("Do it.", "Do it.", (), id="no fence"),
        pytest.param(f"Do:\n```hcl\n{BODY}\n```\nNow.", "Do:\nNow.", (BODY,), id="one"),
        pytest.param("A\n```\nx\n```\nB\n~~~tf\ny\n~~~\n", "A\nB\n", ("x", "y"), id="two, of both marks"),
        pytest.param("````md\n```hcl\nx\n```\n````", "", ("```hcl\nx\n```",), id="a shorter fence inside"),
        pytest.param("~~~\n```\nx\n```\n~~~", "", ("```\nx\n```",), id="a fence of other marks inside"),
        pytest.param("```\nx\n`````", "", ("x",), id="a longer last line closes"),
        pytest.param("```\nx\n``` \t", "", ("x",), id="white space after the last line"),
        pytest.param("```\nx\n```hcl\ny\n```", "", ("x\n```hcl\ny",), id="a line with a language does not close"),
        pytest.param("- one:\n  ```\n  x\n    y\n  ```", "- one:", ("x\n  y",), id="in a list item"),
        pytest.param("- ```\n  x\n  ```\n2. ~~~\n   y\n   ~~~", "", ("x", "y"), id="a list item begins with it"),
        pytest.param("    ```\n  x\n    ```", "", ("x",), id="lines that are less indented than the first"),
        pytest.param("Say `x` and ```y```.", "Say `x` and ```y```.", (), id="marks inside a line"),
        pytest.param("```a``` is code", "```a``` is code", (), id="marks that end in their own line"),
        pytest.param("``\nx\n``", "``\nx\n``", (), id="two marks"),
    ],
)
def test_a_text_is_divided_at_its_fences(text: str, outside: str, blocks: tuple[str, ...]) -> None:
    fenced = split_fences(text)
    assert (fenced.outside, texts(fenced)) == (outside, blocks)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Do:\n```hcl\nx", id="never closed"),
        pytest.param("Do: ```hcl\nx\n```\nNow.", id="opened inside a line, so that its last line opens one"),
        pytest.param("````\nx\n```", id="closed by fewer marks"),
        pytest.param("```\nx\n~~~", id="closed by other marks"),
        pytest.param("a\n```\n```\nb", id="nothing inside"),
        pytest.param("a\n```hcl\n \t\n\n```\nb", id="white space inside"),
    ],
)
def test_what_is_not_a_fence_stays_as_it_is(text: str) -> None:
    fenced = split_fences(text)
    assert (fenced.outside, texts(fenced)) == (text, ())


@pytest.mark.parametrize(
    ("opening", "language"),
    [
        ("```", ""),
        ("```HCL", "hcl"),
        ("~~~ main.tf", "main.tf"),
        ('```tf title="a"', "tf"),
        ("```{.hcl}", ""),
        ("```hcl\r", "hcl"),
    ],
)
def test_a_fence_has_the_first_word_of_its_opening_line(opening: str, language: str) -> None:
    assert split_fences(f"{opening}\nx\n{opening[:3]}").blocks == (Fence(language, "x"),)


HEREDOC = "value = <<-EOT\n  ```sh\n  make\n  ```\n  EOT"


def test_marks_in_a_heredoc_are_its_text() -> None:
    assert split_fences(HEREDOC) == Fenced(HEREDOC, ())
    assert split_fences(f"```hcl\n{HEREDOC}\n```") == Fenced("", (Fence("hcl", HEREDOC),))
    assert texts(split_fences("run <<EOT\n```\nx\n```")) == ("x",), "no line ends the heredoc"


def test_an_unclosed_fence_is_told_beside_the_text() -> None:
    assert split_fences("a\n```tf\nx\ny") == Fenced("a\n```tf\nx\ny", (), Fence("tf", "x\ny"))


def test_an_unclosed_fence_takes_none_before_it() -> None:
    fenced = split_fences("```\nx\n```\nb\n```y\nz")
    assert (fenced.outside, texts(fenced)) == ("b\n```y\nz", ("x",))


@pytest.mark.parametrize(
    "text", ["```x\n" * 40_000, "- ```\n" * 33_000, "`" * 200_000, " " * 199_999 + "x", "- " * 99_999]
)
def test_the_largest_text_takes_no_quadratic_time(text: str) -> None:
    began = time.process_time()
    split_fences(text)
    assert time.process_time() - began < 5, "quadratic time would be minutes"
