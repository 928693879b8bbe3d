"""Random names and values in three pools that share none: a hash of the word or value decides whose it is."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from enum import IntEnum
from random import Random

WORDS = """
    admin alert analytics api app archive asset audit auth backup badge batch beacon bill board book bridge broker
    build cache camera cargo cart case catalog chat claim client cloud code comet content copper core coral course
    crane crawl credit daily dash data debug deep delta depot desk device digest dock docs draft drive dusk eagle echo
    edge email ember engine event export falcon feed field file finance fleet flow forge forum fox front galaxy game
    garden gate geo glass globe gold grain graph green grid guard guest harbor health heron home hub image import
    index infra ingest intake iris island ivory job jump kernel kiosk lab lake lamp ledger legal lemon light lion log
    loyal lunar machine mail maple market media member menu mesh meteor metric mirror mobile model moon motor music
    nest news node north note oak ocean offer olive order otter page panda paper parcel park partner patch pay pearl
    photo pilot pine pixel plan planet player point portal post press price print proxy public pulse quartz query
    queue quiz radar rain ranger raven record relay render rent report retail review river robot rocket root route
    ruby safe sale salmon sample sand scan scene score scout search season seed sensor session shadow shift ship shop
    signal silver site sky smart snow social solar sound south space spark sport spring stage star stock stone storm
    stream studio sun survey swan swift table tank task team temple ticket tiger time token tool tower trace track
    trade train travel tree trip tulip tunnel user vault vector video view violet voice wallet watch water wave
    weather west whale wheel willow wind window winter wolf wonder work yard zebra zenith zone
""".split()  # noqa: SIM905 - a list this long is read as text
ONSETS = """
    b c ch d f g h j k l m n p r s t v w z br cl dr fl gr kr pl st tr
""".split()  # noqa: SIM905 - a list this long is read as text
HEX = "0123456789abcdef"
VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "io", "ou"]
CODAS = ["", "", "", "", "n", "r", "s", "l", "m", "x", "t", "k"]


class Owner(IntEnum):
    """Who may use a word or value; the base's corpus is the largest and gets half of everything."""

    BASE = 0
    JOB = 1
    SUITE = 2


WORD_KINDS = {Owner.BASE: (25, 30, 20, 25), Owner.JOB: (45, 50, 5, 0), Owner.SUITE: (45, 50, 5, 0)}
"""Weights of common words, made-up words, loose letters and pieces of a tokenizer; what is copied in training must be
of every kind."""
PIECES_OF_A_WORD = 3
REPEATING = 0.25
"""Share of the base's words, subnets and image ids that repeat what is nearby, so that copying looks further back."""
SHARES = (Owner.BASE, Owner.BASE, Owner.JOB, Owner.SUITE)


def owner_of(literal: str) -> Owner:
    """Return the only corpus in which `literal` may be a name's word or a value that a prompt asks for."""
    return SHARES[hashlib.sha256(literal.encode()).digest()[0] % len(SHARES)]


class Pool:
    """Draws names and values that belong to one owner, reproducibly for a given random source.

    `pieces` are what a tokenizer makes words of; a model copies only pieces that it has copied in training.
    """

    def __init__(self, owner: Owner, rng: Random, pieces: Sequence[str] = ()) -> None:
        self.owner = owner
        self.rng = rng
        self.pieces = pieces
        self._recent: deque[str] = deque(maxlen=6)

    def own(self, draw: Callable[[], str]) -> str:
        """Draw until the result belongs to this pool's owner."""
        while owner_of(literal := draw()) is not self.owner:
            pass
        return literal

    def repeats(self) -> bool:
        return self.owner is Owner.BASE and self.rng.random() < REPEATING

    def word(self) -> str:
        if self._recent and self.repeats():
            return self.rng.choice(self._recent)
        self._recent.append(self._new_word())
        return self._recent[-1]

    def _new_word(self) -> str:
        kinds = (self._common, self._syllables, self._letters, self._of_pieces if self.pieces else self._letters)
        return self.own(self.rng.choices(kinds, WORD_KINDS[self.owner])[0])

    def name(self) -> str:
        """Return two words or more, or words and a number, joined by hyphens; lower case, first a letter."""
        parts = [self.word() for _ in range(self.rng.choice((1, 2, 2, 2, 3)))]
        if len(parts) == 1 or self.rng.random() < 0.2:
            parts.append(str(self.rng.randint(1, 99)))
        return "-".join(parts)

    def identifier(self) -> str:
        """Return two words joined by an underscore."""
        return f"{self.word()}_{self.word()}"

    def number(self, low: int, high: int) -> str:
        """Return a number between `low` and `high`, often a short or a round one."""
        top = min(high, self.rng.choice((low + 100, low + 1000, high)))
        step = self.rng.choice((1, 1, 5, 10))
        return self.own(lambda: str(max(low, self.rng.randint(low, top) // step * step)))

    def vpc_cidr(self) -> str:
        return self.own(lambda: f"{self._private()}.0.0/16")

    def subnet_cidr(self) -> str:
        return self.own(lambda: f"{self._private()}.{self.rng.randint(0, 255)}.0/24")

    def subnet_of(self, vpc_cidr: str) -> str:
        network, repeats = vpc_cidr.removesuffix(".0.0/16"), self.repeats()
        second = network.split(".")[1]

        def third() -> int:
            return self._byte_like(second) if repeats else self.rng.randint(0, 255)

        return self.own(lambda: f"{network}.{third()}.0/24")

    def domain(self) -> str:
        return f"{self.word()}-{self.word()}.{self.rng.choice(('com', 'net', 'org', 'io', 'example'))}"

    def email(self) -> str:
        return f"{self.word()}@{self.domain()}"

    def ami(self) -> str:
        digits = self.rng.sample(HEX, 5) if self.repeats() else HEX
        return self.own(lambda: "ami-" + "".join(self.rng.choices(digits, k=8)))

    def phrase(self) -> str:
        """Return two or three words with blanks between them."""
        return " ".join(self.word() for _ in range(self.rng.choice((2, 2, 3))))

    def _common(self) -> str:
        return self.rng.choice(WORDS)

    def _private(self) -> str:
        second = self.rng.randint(0, 255)
        return self.rng.choice((f"10.{second}", f"10.{second}", f"172.{16 + second % 16}"))

    def _byte_like(self, other: str) -> int:
        digits = other * 2 + str(self.rng.randint(0, 9))
        return int("".join(self.rng.choices(digits, k=self.rng.randint(1, 3)))) % 256

    def _syllables(self) -> str:
        one = [self.rng.choice(ONSETS) + self.rng.choice(VOWELS) for _ in range(self.rng.choice((1, 2, 2, 2, 3)))]
        return "".join(one) + self.rng.choice(CODAS)

    def _letters(self) -> str:
        return "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=self.rng.randint(2, 6)))

    def _of_pieces(self) -> str:
        return "".join(self.rng.choices(self.pieces, k=self.rng.randint(1, PIECES_OF_A_WORD)))
