"""Denials read our syntax tree, Terraform reads its own: no call may be code to Terraform and text to us.

Each program calls a function that does not exist, in a place where two parsers may disagree: escapes, comments, ends
of heredocs, nested templates. Where the real terraform complains of the call, our tree must show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from loraform_verifier.hcl.normalise import Normalised
from loraform_verifier.hcl.parse import Document, parse
from loraform_verifier.hcl.tree import text_of, walk
from loraform_verifier.terraform.toolchain import Terraform
from loraform_verifier.terraform.validate import Validator

CALL = "nofunc(1)"
SPACES = ["", " ", "\t", "\r", "\x0b", "\x0c", "\u0085", "\u00a0", "\u2028", "\u3000", "\ufeff"]
COMMENTS = ["#", "//", "/* */", "/**/", "/*/ */", "/* /* */", "#\\\n", "//\\\n", "#\r", "# \u2028", "/***/", "/*\n*/"]
EXPRESSIONS = [
    '"%{{ if {0} }}x%{{ endif }}"', '"%%{{ if {0} }}"', '"$%{{ if {0} }}x%{{endif}}"', '"%${{{0}}}"', '"\\"{0}"',
    '"x\\\\\\"${{{0}}}"', '"${{"}}"}}${{{0}}}"', '"${{"${{"\\""}}"}}${{{0}}}"', '"${{<<E\n"\nE\n}}${{{0}}}"',
    '"${{ /* }}" */ {0} }}"', '"${{"${{"${{{0}}}"}}"}}"', "{{ {0} = 1 }}", '{{ "${{{0}}}" = 1 }}', "x[{0}]",
    "[1].*[{0}]", "[1][*][{0}]", "!{0}", "{0}.x", "[for k, v in {0} : k]", "{{for k, v in [] : {0} => k... if true}}",
    "[1e3, 2e-3, {0}]", "[a-1e+3, {0}]", "x ? 1e3 : {0}", '"1e3 ${{1E+3 + {0}}}"',
    "((\n{0}))", "core::{0}", "[core\n::\n{0}]", "x ? 1 : {0}", "f({0}...)",
]  # fmt: skip


def programs() -> Iterator[str]:
    for count in range(1, 6):
        for sigil in ("$" * count, "%" * count, "%$" * count, "\\" * count + "$", "\\" * 2 * count + "$"):
            yield f'locals {{\n  a = "x{sigil}{{{CALL}}}y"\n}}\n'
            yield f"locals {{\n  a = <<E\n{sigil}{{{CALL}}}\nE\n}}\n"
    for space in SPACES:
        for word in ("E", "é"):
            for start, end in product((f"<<{word}", f"<<-{word}"), (f"{space}{word}", f"{word}{space}")):
                yield f"locals {{\n  a = [for {word} in [1] : [{start}\ntext\n{end}\n, {CALL},\n{word}\n]]\n}}\n"
                yield f"locals {{\n  a = {start}\ntext\n{end}\n  b = {CALL}\n  c = <<{word}\n{word}\n}}\n"
        yield f"locals {{\n  a = nofunc{space}(1)\n}}\n"
    for comment in COMMENTS:
        yield f"locals {{\n  a = 1 {comment}\n  b = {CALL}\n}}\n"
        yield f"locals {{\n  a = [1, {comment} {CALL}]\n}}\n"
        yield f"locals {{\n  a = [1, {comment} {CALL}\n]\n}}\n"
    for expression in EXPRESSIONS:
        yield f"locals {{\n  a = {expression.format(CALL)}\n}}\n"


def shows_call(document: Document) -> bool:
    calls = (text_of(n.children[0]) for n in walk(document.root) if n.type == "function_call")
    return any(name.endswith("nofunc") for name in calls)


def test_every_call_that_terraform_sees_is_seen_or_refused(terraform: Terraform) -> None:
    validator = Validator(terraform)
    texts = [text for text in dict.fromkeys(programs()) if not parse(text).problems]
    nothing: frozenset[str] = frozenset()
    raw = [Normalised({"main.tf": text.encode()}, nothing) for text in texts]
    called = {
        text
        for text, outcome in zip(texts, validator.validate(raw), strict=True)
        if any("nofunc" in error.message for error in outcome.errors)
    }
    assert len(called) > 50
    assert [text for text in called if not shows_call(parse(text))] == []
