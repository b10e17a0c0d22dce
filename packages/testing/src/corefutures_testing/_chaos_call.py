"""`ChaosCall`: a call that is delayed, fails or loses its worker on purpose. It runs in workers of any kind.

Touches processes. Guarantees: it is pickled as the function that it calls is.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any, Final, Literal

from corefutures_pools.blocking import system

Fault = Literal["delay", "failure", "kill"]

#: What may happen to a call.
FAULTS: Final[tuple[Fault, ...]] = ("delay", "failure", "kill")


class ChaosError(RuntimeError):
    """A call has failed on purpose, because of `--corefutures-chaos`."""


class ChaosCall:
    """A function to call, and what happens on purpose.

    Args:
        function: The function.
        fault: "delay", "failure", or "kill": its worker process ends by force; a thread can't, and the call fails.
        after: Whether that happens after the function has run, in place of before.
        seconds: How long a delay is.
        submitter: The process that has submitted the call.
    """

    def __init__(
        self, function: Callable[..., Any], fault: Fault, *, after: bool, seconds: float, submitter: int
    ) -> None:
        self.function = function
        self.fault = fault
        self.after = after
        self.seconds = seconds
        self.submitter = submitter

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, and let the fault happen."""
        if not self.after:
            self._fail()
        result = self.function(*args, **kwargs)
        if self.after:
            self._fail()
        return result

    def _fail(self) -> None:
        when = "after" if self.after else "before"
        if self.fault == "delay":
            time.sleep(self.seconds)
        elif self.fault == "failure":
            raise ChaosError(f"--corefutures-chaos: this call was made to fail {when} it ran")
        elif system.getpid() != self.submitter:
            system.kill(system.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        else:
            from corefutures.backend import WorkerLostError  # here for processes, which do without

            raise WorkerLostError(f"--corefutures-chaos: the worker of this call was lost {when} it ran")
