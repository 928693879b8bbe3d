"""The rewrite that makes a program keep the house policy, by text edits at the nodes of the syntax tree.

The result passes `check_house_policy`, and a second rewrite changes nothing. Data preparation applies it to training
rows, and serving applies it to answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from loraform_api.verification import HousePolicy
from loraform_verifier.hcl.edits import Edit, apply_edits, indent_of, line_start
from loraform_verifier.hcl.parse import BYTE_ORDER_MARK, Document, HclBlock
from loraform_verifier.policy.house_policy import has_comment
from loraform_verifier.policy.taggable import tagging_of
from loraform_verifier.policy.tags import tag_edits


def rewrite(document: Document, policy: HousePolicy) -> str:
    """Return the program with the policy's comment and tags. The document must have no problems."""
    newline = "\r\n" if b"\r\n" in document.source else "\n"
    edits = (edit for resource in document.resources() for edit in _edits(document, resource, policy))
    own_lines = (edit._replace(text=edit.text.replace("\n", newline)) for edit in edits)
    return apply_edits(document.source, own_lines).decode("utf-8")


def _edits(document: Document, resource: HclBlock, policy: HousePolicy) -> Iterator[Edit]:
    if not has_comment(document, resource, policy.comment):
        yield _comment_edit(document, resource, policy.comment.strip())
    tagging = tagging_of(resource.labels[0])
    if tagging is not None:
        yield from tag_edits(document.source, resource, tagging, policy.tags)


def _comment_edit(document: Document, resource: HclBlock, comment: str) -> Edit:
    source = document.source
    indent = indent_of(source, resource.node)
    start = line_start(source, resource.node)
    around = document.root.descendant_for_byte_range(start, start + 1)
    if around is not None and around.type == "comment" and around.start_byte < start:
        # The line begins inside `/* … */`, so the new comment must follow it.
        start = resource.node.start_byte
        return Edit(start, start, f"\n{indent}{comment}\n{indent}")
    start = max(start, len(BYTE_ORDER_MARK) if source.startswith(BYTE_ORDER_MARK) else 0)
    return Edit(start, start, f"{indent}{comment}\n")
