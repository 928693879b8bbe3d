"""The page: answers are escaped, references have targets, and its size is bounded."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from loraform_api.evaluation import LossPoint
from loraform_api.finetunejob_status import ArmName, Forgetting
from loraform_api.verification import HousePolicy
from loraform_trainer.evaluate.arms import EvaluationRow, ScoredAnswer
from loraform_trainer.evaluate.html import examples, page
from loraform_trainer.evaluate.html.markup import number_of

from .....evaluated import ASKED, CANDIDATE, HOSTILE, POLICY, evaluated, verdict

VOID = {"meta", "br", "link", "img", "input", "hr", "base"}
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "nav", "section", "h1", "h2", "p", "ul", "li",
    "a", "div", "table", "caption", "colgroup", "thead", "tbody", "tr", "th", "td", "span", "svg", "rect", "line",
    "circle", "text", "polyline", "details", "summary", "code", "pre", "strong", "em", "dl", "dt", "dd",
}  # fmt: skip


class Read(HTMLParser):
    """Collects elements, ids and references; fails on an end that closes nothing."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.setdefault(self.open[-1] if self.open else "", []).append(data)

    def values(self, *names: str) -> list[str]:
        return [value or "" for _, attrs in self.elements for name, value in attrs.items() if name in names]


@pytest.fixture(scope="module")
def html() -> str:
    report, greedy = evaluated()
    return page.render(report, greedy)


@pytest.fixture(scope="module")
def read(html: str) -> Read:
    return Read(html)


def test_scripts_in_answers_are_escaped(html: str, read: Read) -> None:
    assert "<script" not in html.lower()
    assert {element for element, _ in read.elements} <= ELEMENTS
    shown = "".join(piece for pieces in read.text.values() for piece in pieces)
    assert "<script>document.title='owned'</script>" in shown
    assert '<img src=x onerror="document.title=1">' in shown
    assert "${title} $sections $$" in shown


def test_the_page_loads_nothing_and_runs_nothing(html: str, read: Read) -> None:
    policy = next(
        attrs["content"] for _, attrs in read.elements if attrs.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    names = {name for _, attrs in read.elements for name in attrs}
    assert not {n for n in names if n.startswith("on")} | names & {
        "src",
        "srcset",
        "action",
        "style",
        "data",
        "xlink:href",
    }
    assert all(value.startswith("#") for value in read.values("href"))
    assert "url(" not in html
    assert "@import" not in html


def test_every_reference_has_one_target(read: Read) -> None:
    ids = read.values("id")
    assert len(ids) == len(set(ids))
    assert {v.removeprefix("#") for v in read.values("href")} | set(read.values("aria-labelledby")) <= set(ids)
    assert read.open == []


def test_accessibility_attributes(read: Read) -> None:
    attributes: dict[str, list[dict[str, str | None]]] = {}
    for element, attrs in read.elements:
        attributes.setdefault(element, []).append(attrs)
    assert attributes["html"] == [{"lang": "en"}]
    assert read.text["title"] == ["Evaluation of team-a/style"]
    assert len(attributes["table"]) == len(attributes["caption"])
    assert all(attrs.get("scope") for attrs in attributes["th"])
    assert all(attrs.get("aria-label") and attrs.get("role") == "img" for attrs in attributes["svg"])


def test_sections_and_figures(read: Read) -> None:
    titles = read.text["h2"]
    assert titles[:8] == [
        "Rates by arm and stage", "Comparison for promotion", "Several answers per prompt (pass@k)", "Repairs",
        "By difficulty", "By resource type", "Training loss", "Provenance",
    ]  # fmt: skip
    assert [t.split(":")[0] for t in titles[8:]] == [
        "Rows lost against Base", "Rows gained against Base", "Rows that the candidate failed",
    ]  # fmt: skip
    assert "pass@10" in read.text["th"]
    assert "52.4 % (131/250)" in read.text["span"]
    assert "80.4 % (201/250)" in read.text["span"]
    assert any("compared with best of n: 6 rows gained and 2 lost (-0.4 to +3.9 points)" in p for p in read.text["p"])
    kinds = [attrs["id"] or "" for element, attrs in read.elements if element == "details"]
    assert {kind.split("-")[0]: kinds.count(kind) for kind in kinds} == {"lost": 1, "gained": 1, "failure": 1}
    assert len(kinds) == 60


def test_plurals() -> None:
    assert [number_of(count, "row") for count in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]


def test_repairs_and_their_tokens_are_cumulative() -> None:
    report, greedy = evaluated(count=10, samples=1)
    made = page.render(report, greedy)
    lines = re.findall(r'<th scope="row">(After \d repairs?|Best of n)</th>.*?<td>(\d+ \w+)</td><td>(\d+)</td>', made)
    assert lines == [
        ("After 0 repairs", "0 repaired", "0"), ("After 1 repair", "40 repaired", "31000"),
        ("After 2 repairs", "54 repaired", "42500"), ("Best of n", "96 sampled", "43100"),
    ]  # fmt: skip


@pytest.mark.parametrize(("policy", "tables"), [(None, 0), (POLICY, 1)])
def test_served_rates_are_shown_with_a_house_policy(policy: HousePolicy | None, tables: int) -> None:
    report, greedy = evaluated(count=10, samples=1, policy=policy)
    captions = Read(page.render(report, greedy)).text["caption"]
    assert captions.count("Answers as they would be served, after the house-policy rewrite") == tables


def test_several_suites_are_compared() -> None:
    one, several = (Read(page.render(*evaluated(9, samples=1, suites=s))) for s in (("held-out",), ("small", "large")))
    assert "9 rows of suite held-out" in one.text["p"]
    assert "9 rows of suites small, large" in several.text["p"]
    assert "By suite" not in one.text["h2"]
    assert "By suite" in several.text["h2"]
    assert {"small (5 rows)", "large (4 rows)"} <= set(several.text["th"])


def test_counts_of_one_are_in_the_singular() -> None:
    report, greedy = evaluated(count=1, samples=1)
    bare = report.model_copy(update={"types_left_out": 1})
    shown = " ".join(piece for pieces in Read(page.render(bare, greedy)).text.values() for piece in pieces)
    assert not re.findall(r"\b1 (?:rows|repairs|types|prompts|clusters|answers)\b", shown)


@pytest.mark.parametrize(("shares", "live", "kind"), [
    ((0.5, 0.9), None, "good"), ((0.9, 0.5), None, "bad"), ((0.6, 0.6), None, "open"), ((0.5, 0.9), CANDIDATE, "same"),
])  # fmt: skip
def test_the_verdict_has_its_colour(shares: tuple[float, float], live: str | None, kind: str) -> None:
    report, greedy = evaluated(samples=1, shares=shares, live=live)
    assert f'<p class="verdict {kind}">' in page.render(report, greedy)


@pytest.mark.parametrize(("smallest", "words"), [(0.064, "6.4 points"), (0.0004, "0.04 points"), (0.01, "1.0 points")])
def test_the_smallest_detectable_gain_is_shown(smallest: float, words: str) -> None:
    report, greedy = evaluated(count=10, samples=1)
    paired = report.paired.model_copy(update={"smallest_visible_difference": smallest})
    shown = Read(page.render(report.model_copy(update={"paired": paired}), greedy)).text["p"]
    assert any(f"With as many rows lost, the smallest detectable net gain is {words}." in p for p in shown)


@pytest.mark.parametrize("outcome", [(2, 0, 6, 2), (0, 1, 0, 0), (0, 2, 0, 0)])
def test_too_few_rows_have_no_detectable_gain(outcome: tuple[int, int, int, int]) -> None:
    report, greedy = evaluated(count=10, samples=1)
    names = ("both_passed", "gained", "lost", "neither_passed")
    paired = report.paired.model_copy(update=dict(zip(names, outcome, strict=True)))
    shown = Read(page.render(report.model_copy(update={"paired": paired}), greedy)).text["p"]
    assert any("With as many rows lost, no net gain is detectable." in p for p in shown)


@pytest.mark.parametrize(("effect", "told"), [(1.0, False), (1.5, True)])
def test_the_design_effect_is_shown_if_above_one(effect: float, told: bool) -> None:
    report, greedy = evaluated(count=10, samples=1)
    paired = report.paired.model_copy(update={"design_effect": effect})
    shown = Read(page.render(report.model_copy(update={"paired": paired}), greedy)).text["p"]
    assert any(f"makes its variance {effect:.3g} times as large." in p for p in shown) is told


def curves(html: str) -> tuple[list[str], list[str], list[str]]:
    """Return the label of the loss chart, and its texts, lines and points."""
    chart = html.partition('id="loss"')[2].partition("</svg>")[0]
    return (
        re.findall(r'aria-label="([^"]*)"', chart),
        re.findall(r"<text[^>]*>([^<]*)<", chart),
        re.findall(r"<(polyline|circle)", chart),
    )


def test_a_single_loss_is_drawn_as_a_point() -> None:
    report, greedy = evaluated(count=2, samples=1)
    one = report.model_copy(update={"loss": [LossPoint(step=3, loss=0.5), LossPoint(step=3, eval_loss=0.4)]})
    assert curves(page.render(one, greedy)) == (["training loss 0.5 at step 3"], ["0.5", "0", "step 3"], ["circle"])


def test_the_validation_loss_is_a_line_with_a_legend() -> None:
    report, greedy = evaluated(count=2, samples=1)
    log = [LossPoint(step=step, loss=2.0 / step) for step in (1, 2, 3)]
    log += [LossPoint(step=step, eval_loss=4.0 / step) for step in (2, 4)]
    found = curves(page.render(report.model_copy(update={"loss": log}), greedy))
    assert found == (
        ["training loss from 2 at step 1 to 0.667 at step 3; validation loss from 2 at step 2 to 1 at step 4"],
        ["2", "0", "step 1", "step 4", "training loss", "validation loss"],
        ["polyline", "polyline"],
    )


def test_forgetting_is_shown() -> None:
    report, greedy = evaluated(count=10, samples=1)
    found = Forgetting(mean_difference="-0.0125", low="-0.0200", high="-0.0050", prompts=60)
    read = Read(page.render(report.model_copy(update={"forgetting": found}), greedy))
    assert "Forgetting of general answers" in read.text["h2"]
    assert any("60 short general answers by -0.0125" in words for words in read.text["p"])


def test_sections_without_content_are_omitted() -> None:
    report, greedy = evaluated(samples=1)
    nothing = {"by_difficulty": [], "by_type": [], "reflexion": None, "loss": [LossPoint(step=3, eval_loss=0.3)]}
    bare = report.model_copy(update=nothing)
    titles = Read(page.render(bare, greedy)).text["h2"]
    assert titles[:3] == ["Rates by arm and stage", "Comparison for promotion", "Provenance"]


def test_the_page_is_bounded_for_huge_answers() -> None:
    report, greedy = evaluated(count=90)
    floods = {name: f"{name}\n" + ('"' * 300 + "\n") * 5000 + '"<&\u202e' * 100_000 for name in greedy}
    flood = {
        name: [ScoredAnswer(s.arm, s.row, f"{s.row.id} {floods[name]}", raw=s.raw) for s in answers]
        for name, answers in greedy.items()
    }
    written = page.render(report, flood)
    assert 1_000_000 < len(written.encode()) <= 2_000_000
    read = Read(written)
    for kind in ("lost", "gained", "failure"):
        assert f"{kind}-1" in read.values("id")  # each list has its share
    assert len([words for words in read.text["p"] if words.endswith("more in evaluation/rows.jsonl.")]) == 3


def scored(text: str, failed: object = None, id_: str = "a") -> ScoredAnswer:
    _, greedy = evaluated(count=1)
    judged = verdict(failed)  # type: ignore[arg-type]
    return ScoredAnswer(
        greedy[ArmName.CANDIDATE][0].arm,
        EvaluationRow(id_, "s", "Do it.", "", None, ASKED),
        text,
        raw=judged,
        served=judged,
    )


def test_each_kind_of_failure_is_shown_before_a_second_of_one() -> None:
    answers = [scored("", ASKED[0], f"parse-{i}") for i in range(5)] + [scored("", ASKED[1], "validate")]
    answers.append(ScoredAnswer(answers[0].arm, EvaluationRow("cut", "s", "", "", None, ASKED), "", truncated=True))
    answers.append(scored("", None, "passed"))
    shown = [s.row.id for s in examples.failures(answers, 4)]
    assert shown == ["parse-0", "validate", "cut", "parse-1"]


def test_differing_lines_are_marked() -> None:
    made = examples.comparison(scored("a\nb\nc\n"), scored("a\nB\nc\nd\n"), "gained", 1)
    cells = re.findall(r'<td class="(same|removed|added|absent)">(?:<span class="sign">(.) </span>)?([^<]*)</td>', made)
    assert cells == [
        ("same", " ", "a"), ("same", " ", "a"), ("removed", "-", "b"), ("added", "+", "B"), ("same", " ", "c"),
        ("same", " ", "c"), ("absent", "", ""), ("added", "+", "d"),
    ]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_answer_adds_no_element(hostile: str) -> None:
    plain = [element for element, _ in Read(examples.comparison(scored("x"), scored("y"), "lost", 1)).elements]
    found = [element for element, _ in Read(examples.comparison(scored(hostile), scored("y"), "lost", 1)).elements]
    assert found == plain


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_has_contrast_in_both_themes(html: str) -> None:
    """WCAG AA asks 4.5 of text."""
    themes = re.findall(r":root \{([^}]*)\}", html)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", theme))
        pairs = [("ink", under) for under in ("paper", "panel", "removed", "added")]
        pairs += [("quiet", "paper"), ("quiet", "panel"), *((word, "panel") for word in ("good", "bad", "open"))]
        for over, under in pairs:
            light, dark = sorted((luminance(colours[over]), luminance(colours[under])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (over, under)
