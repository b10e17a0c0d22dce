"""The worker's part of `corefutures map`: call a function with each item of a batch, and turn results into lines.

Imports next to nothing: spawned workers import this module. An exception of a call becomes text and does not affect
the other items of the batch.
"""

from __future__ import annotations

import json
from types import CoroutineType

from corefutures.backend import clock, describe_error

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    #: A line of the output; or of a call that failed what is said of it, and its traceback if that is wanted.
    Outcome = str | tuple[str, str]


def run_batch(
    function: Callable[[Any], Any], items: Sequence[str], *, as_json: bool, tracebacks: bool, seconds: float | None
) -> tuple[float, list[Outcome]]:
    """Call a function with each item, one after the other.

    Args:
        function: Called with one item.
        items: Texts.
        as_json: Whether items and results are JSON values.
        tracebacks: Whether the traceback of a call that fails is wanted.
        seconds: After this time no other call is begun; None: all are made.

    Returns:
        The seconds that it took, and the outcomes of the first items: of one at least.
    """
    began = clock.perf_counter()
    outcomes: list[Outcome] = []
    for item in items:
        interrupted = False
        try:
            value = function(json.loads(item) if as_json else item)
            if type(value) is CoroutineType:
                value.close()
                raise TypeError(
                    "the function returned a coroutine, which nobody would await: it must be a plain function"
                )
            outcomes.append(json.dumps(value, allow_nan=False) if as_json else str(value))
        except BaseException as error:
            outcomes.append((describe_error(error), _traceback(error) if tracebacks else ""))
            interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted or (seconds is not None and clock.perf_counter() - began >= seconds):
            break
    return clock.perf_counter() - began, outcomes


def _traceback(error: BaseException) -> str:
    import traceback  # here: few batches need it

    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # it begins with the function, not here
    return "".join(traceback.format_exception(error)).rstrip()
