"""What one trial found: `Trial`, an immutable value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The name of the trial without a backend.
LOOP: Final = "loop"


@dataclass(frozen=True)
class Trial:
    """How one backend, or the plain loop, ran the sample.

    Args:
        backend: The backend's name, or `"loop"`.
        seconds: How long the sample took, the fastest of up to three rounds; None if it did not get that far.
        speedup: How many times as fast as the loop it was; None where either is unknown.
        startup: Seconds to make the executor and run one empty call on each worker.
        transport: Seconds that carrying one argument there and one result back costs, the call itself left out.
        memory: The most bytes that the trial's processes took together; None where that can't be known.
        memory_source: `"psutil"`, or `"rusage"`, which does not count worker processes.
        failed: How many calls raised.
        failure: What the first of them raised.
        agrees: Whether every outcome equals the loop's; the loop is compared with itself. None where unknown.
        error: Why there is no time, in a sentence.
    """

    backend: str
    seconds: float | None = None
    speedup: float | None = None
    startup: float | None = None
    transport: float | None = None
    memory: int | None = None
    memory_source: str | None = None
    failed: int = 0
    failure: str | None = None
    agrees: bool | None = None
    error: str | None = None
