"""Shingles compared with a slow reference implementation."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from loraform_trainer.prepare.dataset.shingles import RUN, jaccard, shingle_sets, union

TEXTS = st.lists(st.text('ab_ 1-\n"é{', max_size=60).map(str.encode), min_size=1, max_size=6)


def slowly(text: bytes) -> set[tuple[bytes, ...]]:
    """Return the runs of five tokens."""
    words = re.findall(rb"[A-Za-z0-9_\x80-\xff]+|[^\sA-Za-z0-9_\x80-\xff]", text)
    return {tuple(words[i : i + RUN]) for i in range(max(1, len(words) - RUN + 1))} if words else set()


@given(TEXTS)
def test_sets_are_those_of_the_runs_of_five_tokens(texts: list[bytes]) -> None:
    sets = shingle_sets(texts)
    expected = [slowly(text) for text in texts]
    assert [len(s) for s in (sets[i] for i in range(len(sets)))] == [len(e) for e in expected]
    for i, left in enumerate(expected):
        for j, right in enumerate(expected):
            exact = len(left & right) / len(left | right) if left & right else 0.0
            assert abs(jaccard(sets[i], sets[j]) - exact) < 1e-12


@given(TEXTS)
def test_shingles_do_not_depend_on_other_texts_of_the_batch(texts: list[bytes]) -> None:
    together = shingle_sets(texts)
    for number, text in enumerate(texts):
        assert np.array_equal(together[number], shingle_sets([text])[0])


def test_union_contains_both_sets() -> None:
    left, right = shingle_sets([b"a b c d e", b""]), shingle_sets([b"v w x y z", b"a b"])
    both = union(left, right)
    assert set(both[0]) == set(left[0]) | set(right[0])
    assert set(both[1]) == set(right[1])


def test_selected_sets_keep_their_values() -> None:
    sets = shingle_sets([b"a b c d e f", b"", b"g h i j k"])
    some = sets.select(np.array([0, 2]))
    assert [list(some[0]), list(some[1])] == [list(sets[0]), list(sets[2])]


def test_hashes_are_the_same_on_every_machine() -> None:
    assert shingle_sets([b"resource a b c d"]).values.tolist() == [1285219579]
