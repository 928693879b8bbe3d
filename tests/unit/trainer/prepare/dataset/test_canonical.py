"""The normal form of programs and prompts."""

from __future__ import annotations

from loraform_trainer.prepare.dataset.canonical import digest, normal_form, normal_prompt, tree_of

PROGRAM = 'resource "aws_s3_bucket" "a" {\n  bucket = "my bucket" # why\n}\n'


def form(text: str) -> bytes:
    return normal_form(text.encode(), tree_of(text))


def test_normal_form_ignores_comments_and_layout() -> None:
    other = '/* a\n "b" */\nresource    "aws_s3_bucket" "a"   {\n\n  // c\n\tbucket="my bucket"\n}\n# end'
    assert form(other) == form(PROGRAM) == b'resource "aws_s3_bucket" "a" { bucket = "my bucket" }'


def test_normal_form_keeps_strings() -> None:
    assert form(PROGRAM) != form(PROGRAM.replace("my bucket", "my  bucket"))
    assert b'"a # b"' in form(PROGRAM.replace("my bucket", "a # b"))


def test_normal_form_keeps_heredocs_and_interpolations() -> None:
    text = 'a {\n  b = <<-EOT\n    # no comment\n      x  y\n  EOT\n  c = "${ d["e  f"] } g"\n}\n'
    assert b"# no comment\n      x  y" in form(text)
    assert form(text).endswith(b'c = "${ d["e  f"] } g" }')


def test_normal_prompt_ignores_case_and_white_space() -> None:
    assert normal_prompt(" Make\n a Bucket ", "") == normal_prompt("make a bucket") == b"make a bucket"
    assert normal_prompt("make", "a bucket") == b"make a bucket"
    assert normal_prompt("make b") != normal_prompt("make a")


def test_digests_fit_64_bits() -> None:
    assert 0 <= digest(b"a") < 1 << 64
    assert digest(b"a") != digest(b"b")
