"""Words a template's values as a person would: many frames, of which some are kept for the suite alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from random import Random

from loraform_demo.templates import Field, Template


@dataclass(frozen=True)
class Frames:
    """Pieces of which a prompt is put together: {noun}, {name} and {facts} stand for the template's words."""

    contexts: Sequence[str]
    openers: Sequence[str]
    namings: Sequence[str]
    joins: Sequence[str]
    later_namings: Sequence[str]
    name_first: Sequence[str]
    lists: Sequence[str]
    ends: Sequence[str]


SEEN = Frames(
    contexts=(
        "For the {word} project: ",
        "The {word} team needs this. ",
        "In production: ",
        "Hi! ",
        "Part of {word} and {other}: ",
        "Next task for {word}. ",
    ),
    openers=(
        "Create", "Please create", "Set up", "Provision", "Define", "Write", "Write Terraform for", "Add", "I need",
        "We need", "Give me", "Make", "Configure", "Deploy", "Generate", "I want", "We want Terraform for", "Declare",
        "Can you create", "Build", "Please add", "Please write", "I would like", "Terraform code for", "Show me",
        "Prepare", "Write the code of", "Terraform:", "Get me",
    ),
    namings=(
        "named {name}", "called {name}", "with the name {name}", "with name {name}", "under the name {name}",
        'named "{name}"', 'called "{name}"', "{name}", '"{name}"', "(name: {name})", "whose name is {name}",
    ),
    joins=(
        " with {facts}", ", with {facts}", ". It has {facts}", ". It needs {facts}", " and {facts}", ". Use {facts}",
        " having {facts}", ", using {facts}", ": {facts}", " ({facts})", ". Give it {facts}", ". It must have {facts}",
    ),
    later_namings=(
        ", named {name}", ". Name it {name}", ". Its name is {name}", ", called {name}", '. Call it "{name}"',
        " and name it {name}", ". The name: {name}",
    ),
    name_first=(
        "{name} is {noun}", "{name}: {noun}", "{name} should be {noun}", "The name is {name}. {opener} {noun}",
        "Under the name {name}, {lower} {noun}",
    ),
    lists=("with these settings", "from these values", "as given here", "with this input"),
    ends=(".", ".", ".", "", ". Thanks.", ", please.", "!"),
)  # fmt: skip
UNSEEN = Frames(
    contexts=("A small request from {word}. ", "New ticket: ", "Good morning, ", "Next on our plan: "),
    openers=(
        "Could somebody put together", "Our team is missing", "Kindly draft", "Spin up", "Let us have",
        "Produce the configuration of", "The platform now requires", "Help me launch",
    ),
    namings=("that goes by {name}", "known as {name}", "titled {name}", "to be found as {name}"),
    joins=(" featuring {facts}", ". Make sure there is {facts}", ", which comes with {facts}", ". We chose {facts}"),
    later_namings=(". People know it as {name}", ". For the title take {name}", " and let it be {name}"),
    name_first=("Our new {name} will be {noun}", "What we call {name} is {noun}"),
    lists=("that follows the list below", "filled in from the notes"),
    ends=(".", ", if you can.", ". That is all.", " as soon as possible."),
)  # fmt: skip


SEEN_WORDS = sorted(
    {
        word
        for piece in fields(Frames)
        for text in getattr(SEEN, piece.name)
        for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", text))
    }
)
ALL_INVENTED_SHARE = 0.5
KNOWN_SHARE = 0.4
"""Share of the invented wordings' words that come from `SEEN`: that `is` or `by` stands before it makes no name."""


def invented(rng: Random, draw_word: Callable[[], str]) -> Frames:
    """Return frames of random words, some mixed with `SEEN`: who learns from them finds names and values by their form,
    however it is put."""

    def words(most: int) -> str:
        return " ".join(
            rng.choice(SEEN_WORDS) if rng.random() < KNOWN_SHARE else draw_word() for _ in range(rng.randint(1, most))
        )

    def sentence(most: int) -> str:
        return words(most).capitalize()

    made = Frames(
        contexts=(f"{sentence(5)}. ", f"{sentence(3)}: "),
        openers=(sentence(5),),
        namings=(f"{words(4)} {{name}}",),
        joins=(f" {words(3)} {{facts}}", f", {words(4)} {{facts}}", f". {sentence(4)} {{facts}}"),
        later_namings=(f" {words(3)} {{name}}", f". {sentence(4)} {{name}}"),
        name_first=(f"{sentence(3)} {{name}} {words(3)} {{noun}}", f"{{name}} {words(4)} {{noun}}"),
        lists=(words(5),),
        ends=(".", "", f", {words(4)}.", f". {sentence(4)}.", f" {words(4)}."),
    )
    if rng.random() < ALL_INVENTED_SHARE:
        return made
    return Frames(**{piece.name: getattr(rng.choice((made, SEEN)), piece.name) for piece in fields(Frames)})


def phrase(
    template: Template, values: Mapping[str, str], words: Sequence[str], frames: Frames, rng: Random
) -> tuple[str, str]:
    """Return (instruction, input) that give all `values`; `words` are two words for a sentence of context."""
    noun, opener, end = rng.choice(template.nouns), rng.choice(frames.openers), rng.choice(frames.ends)
    name, shape = values["name"], rng.random()
    fields = [f for f in template.fields if f.key in values]
    facts = rng.choice(frames.joins).format(facts=_facts(fields, values, rng)) if fields else ""
    context = ""
    if rng.random() < 0.2:
        context = rng.choice(frames.contexts).format(word=words[0], other=words[1])
    if shape < 0.15:
        return f"{context}{opener} {noun} {rng.choice(frames.lists)}{end}", _listing(fields, values, rng)
    if shape < 0.30:
        first = rng.choice(frames.name_first)
        lower = opener[0].lower() + opener[1:]
        text = first.format(name=name, noun=noun, opener=opener, lower=lower) + facts
    elif shape < 0.50:
        text = f"{opener} {noun}{facts}{rng.choice(frames.later_namings).format(name=name)}"
    else:
        text = f"{opener} {noun} {rng.choice(frames.namings).format(name=name)}{facts}"
    return f"{context}{text}{end}", ""


def _facts(fields: Sequence[Field], values: Mapping[str, str], rng: Random) -> str:
    facts = [rng.choice(f.phrases).format(values[f.key]) for f in fields]
    rng.shuffle(facts)
    *first, last = facts
    return f"{', '.join(first)} and {last}" if first else last


def _listing(fields: Sequence[Field], values: Mapping[str, str], rng: Random) -> str:
    labels = [f.label if "{}" in f.label else f"{f.label}: {{}}" for f in fields]
    lines = [f"name: {values['name']}", *(label.format(values[f.key]) for label, f in zip(labels, fields, strict=True))]
    rng.shuffle(lines)
    return "\n".join(lines)
