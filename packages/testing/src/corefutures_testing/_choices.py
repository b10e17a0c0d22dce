"""`Choices`: the decisions of one schedule, drawn from a seed or replayed from a record.

Touches nothing. Guarantees: the same source and the same numbers of alternatives give the same decisions.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_REPLAY = re.compile(r"(\d+(x\d+)?(\.\d+(x\d+)?)*)?\Z")


class Choices:
    """The decisions of one schedule.

    Args:
        seed: Where the random decisions come from. None for the first alternative each time: the order of submission.
        replay: Decisions to repeat, in place of random ones; after the last one the first alternative is chosen.

    Attributes:
        taken: The decisions so far: each is the number of the alternative, from 0.

    Thread safety: for one thread at a time.
    """

    def __init__(self, seed: int | str | None = None, replay: Sequence[int] | None = None) -> None:
        self._random = None if seed is None or replay is not None else random.Random(seed)
        self._replay = replay or ()
        self.taken: list[int] = []

    def choose(self, alternatives: int, first: float | None = None) -> int:
        """Decide between some alternatives.

        Args:
            alternatives: How many there are. If there is one, no decision is noted.
            first: How probable the first one is; all are equally probable by default.
        """
        if alternatives == 1:
            return 0
        if self._random is None:
            place = len(self.taken)
            choice = self._replay[place] if place < len(self._replay) else 0
            choice = choice if choice < alternatives else 0
        elif first is None:
            choice = self._random.randrange(alternatives)
        elif self._random.random() < first:
            choice = 0
        else:
            choice = 1 + self._random.randrange(alternatives - 1)
        self.taken.append(choice)
        return choice


def trimmed(decisions: Sequence[int]) -> tuple[int, ...]:
    """Return the decisions without those at the end that choose the first alternative, which a replay does anyway."""
    end = len(decisions)
    while end and decisions[end - 1] == 0:
        end -= 1
    return tuple(decisions[:end])


def to_text(decisions: Sequence[int]) -> str:
    """Return decisions as text for `from_text`, such as `0x3.2.1`: equal ones in a row are counted."""
    parts: list[list[int]] = []
    for decision in trimmed(decisions):
        if parts and parts[-1][0] == decision:
            parts[-1][1] += 1
        else:
            parts.append([decision, 1])
    return ".".join(str(decision) if count == 1 else f"{decision}x{count}" for decision, count in parts) or "0"


def from_text(text: str) -> tuple[int, ...]:
    """Return the decisions that `to_text` gave.

    Raises:
        TypeError: It is no text.
        ValueError: It has another form.
    """
    if not isinstance(text, str):
        raise TypeError(f"a schedule to replay is a text such as '0x3.2.1', not {text!r}")
    if not _REPLAY.match(text):
        raise ValueError(f"a schedule to replay is a text such as '0x3.2.1', not {text!r}")
    decisions: list[int] = []
    for part in filter(None, text.split(".")):
        decision, _, count = part.partition("x")
        decisions += [int(decision)] * int(count or 1)
    return tuple(decisions)
