"""The seed of the random histories in a runner process; None lets every run draw the same ones."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", bound=type)

_seed: int | None = None


def set_seed(seed: int | None) -> None:
    """Set the seed of every rule that runs from now on in this process."""
    global _seed
    _seed = seed


def seeded(state_machine: T) -> T:
    """Give a state machine of Hypothesis the seed, if one was set."""
    from hypothesis import seed  # here, because only the histories need it

    return state_machine if _seed is None else seed(_seed)(state_machine)
