"""Rows of the three corpora: the base's (some ask for a comment or tags), the job's dataset, the held-out suite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from loraform_demo.hcl import Block, program, tag_map
from loraform_demo.phrasing import SEEN, UNSEEN, Frames, invented, phrase
from loraform_demo.pools import Owner, Pool
from loraform_demo.templates import TEMPLATES, UNTAGGABLE, Template

ASKING_SHARE = 0.4
"""Share of the base's rows that ask for a comment or a tag, so that the base knows such words, but only on demand."""
INVENTED_SHARE = 0.5
"""Share of the base's rows whose prompts are worded at random, at least in part; so it does not lean on wordings."""

COMMENT_WORDS = """
    This That resource block file module part is was gets generated written made owned managed kept checked using by
    with from for the a our PiCloud Falcon Lumen Terra Nimbus Acme tool team script platform pipeline robot group
    please do not edit change here automatically review before production created code service
""".split()  # noqa: SIM905 - a list this long is read as text
TAG_KEYS = """
    created_by owner team managed_by env project stage cost_center tool origin made_with Name
""".split()  # noqa: SIM905 - a list this long is read as text
TAG_VALUES = """
    PiCloud Falcon Lumen Terra Nimbus Acme platform production staging Terraform
""".split()  # noqa: SIM905 - a list this long is read as text
POLICY_COMMENT = "This resource is generated using PiCloud tool"
POLICY_TAG = ("created_by", "PiCloud")
COMMENT_REQUESTS = (
    ' Put the comment "{}" above each resource.',
    ' Write the comment "{}" above every resource.',
    " Above each resource stands this comment: {}.",
    ' Comment each resource with "{}".',
    " Each resource gets the comment {}.",
)
TAG_REQUESTS = (
    ' Tag it with {} = "{}".',
    " Add the tag {} with the value {}.",
    " Tag everything with {}={}.",
    " Tags: {} = {}.",
    " Use the tag {} = {}.",
)


@dataclass(frozen=True)
class Row:
    """A prompt, the plain answer to it, and what the prompt names literally."""

    instruction: str
    input: str
    response: str
    types: tuple[str, ...]
    name: str
    values: tuple[str, ...]
    template: str
    """Key of the template that it was drawn from."""
    unseen_phrasing: bool = False


def draw_values(template: Template, pool: Pool) -> dict[str, str]:
    """Return the values that a prompt will give: the name, each required field, each optional one with even odds."""
    fields = [f for f in template.fields if not f.optional or pool.rng.random() < 0.5]
    values = {"name": template.draw_name(pool)}
    for f in fields:
        values[f.key] = pool.subnet_of(values[f.inside]) if f.inside else f.draw(pool)
    return values


def draw_row(pool: Pool, frames: Frames = SEEN) -> Row:
    """Return a row of a random template; neither prompt nor answer knows of comments or of tags beyond `Name`."""
    template = pool.rng.choice(TEMPLATES)
    values = draw_values(template, pool)
    instruction, given = phrase(template, values, (pool.word(), pool.word()), frames, pool.rng)
    literal = tuple(values[f.key] for f in template.fields if f.key in values and not f.enumerated)
    answer = program(template.build(values))
    types, unseen = tuple(template.types), frames is UNSEEN
    return Row(instruction, given, answer, types, values["name"], literal, template.key, unseen)


def draw_asking_row(pool: Pool, frames: Frames = SEEN) -> Row:
    """Return a row whose prompt asks for a comment, for tags, or for both."""
    rng = pool.rng
    template = rng.choice(TEMPLATES)
    values = draw_values(template, pool)
    instruction, given = phrase(template, values, (pool.word(), pool.word()), frames, rng)
    what = rng.choice(("comment", "tags", "both", "both"))
    blocks, comment, requests = template.build(values), "", []
    if what != "tags":
        comment = draw_comment(pool)
        requests.append(rng.choice(COMMENT_REQUESTS).format(rng.choice((comment, comment.removeprefix("# ")))))
    if what != "comment":
        pairs = draw_tags(pool)
        blocks = [with_tags(block, pairs) for block in blocks]
        requests += [rng.choice(TAG_REQUESTS).format(*pair) for pair in pairs]
    rng.shuffle(requests)
    instruction = instruction.rstrip(".!") + "." + "".join(requests)
    answer = program(blocks, comment)
    return Row(instruction, given, answer, tuple(template.types), values["name"], (), template.key)


def draw_comment(pool: Pool) -> str:
    """Return a comment line of shuffled words; never the one that the house policy asks for."""
    words = [pool.word() if pool.rng.random() < 0.15 else pool.rng.choice(COMMENT_WORDS) for _ in range(8)]
    text = " ".join(words[: pool.rng.randint(3, 8)])
    return draw_comment(pool) if text == POLICY_COMMENT else f"# {text}"


def draw_tags(pool: Pool) -> list[tuple[str, str]]:
    """Return one or two tags; never the one that the house policy asks for."""
    rng = pool.rng
    keys = rng.sample(TAG_KEYS[:-1], 2)
    keys[0] = pool.identifier() if rng.random() < 0.2 else keys[0]
    pairs = [(key, rng.choice(TAG_VALUES) if rng.random() < 0.7 else pool.word()) for key in keys]
    pairs = pairs[: rng.choice((1, 1, 1, 2))]
    return draw_tags(pool) if POLICY_TAG in pairs else pairs


def with_tags(block: Block, pairs: list[tuple[str, str]]) -> Block:
    """Return the resource with `pairs` at the end of its tags, or unchanged where its type takes none."""
    if block.head.split('"')[1] in UNTAGGABLE:
        return block
    others = [item for item in block.items if not isinstance(item, Block) or not item.head.startswith("tags")]
    own = [pair for item in block.items if isinstance(item, Block) and item.head == "tags =" for pair in item.items]
    plain = [(key, value.strip('"')) for key, value in (pair for pair in own if not isinstance(pair, Block))]
    return Block(block.head, [*others, tag_map([*plain, *pairs])])


def base_rows(seed: int, pieces: Sequence[str] = ()) -> Iterator[Row]:
    """Yield the base's corpus, without end; with `pieces` of the tokenizer among the words of its names."""
    pool = Pool(Owner.BASE, Random(seed), pieces)
    while True:
        frames = invented(pool.rng, pool.word) if pool.rng.random() < INVENTED_SHARE else SEEN
        yield (draw_asking_row if pool.rng.random() < ASKING_SHARE else draw_row)(pool, frames)


def distinct_rows(owner: Owner, count: int, seed: int, frames: Frames = SEEN) -> list[Row]:
    """Return `count` rows of which no two have the same prompt or the same answer."""
    pool = Pool(owner, Random(seed))
    rows: dict[str, Row] = {}
    answers: set[str] = set()
    while len(rows) < count:
        row = draw_row(pool, frames)
        prompt = f"{row.instruction}\n{row.input}"
        if prompt not in rows and row.response not in answers:
            rows[prompt] = row
            answers.add(row.response)
    return list(rows.values())


def dataset_rows(count: int, seed: int) -> list[Row]:
    return distinct_rows(Owner.JOB, count, seed)


def suite_rows(count: int, seed: int) -> list[Row]:
    """Return the held-out rows; the last fifth is worded as no other corpus is."""
    unseen = count // 5
    return distinct_rows(Owner.SUITE, count - unseen, seed) + distinct_rows(Owner.SUITE, unseen, seed + 1, UNSEEN)
