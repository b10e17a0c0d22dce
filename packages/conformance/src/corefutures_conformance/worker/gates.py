"""Gates: a call that waits at one goes on when the rule opens it, whatever boundary lies between.

A gate is a folder. Who arrives leaves a file in it, who opens it leaves the file `open`; so it works
between threads, processes and interpreters alike, it is picklable, and a killed worker leaves nothing locked.
"""

from __future__ import annotations

import os
import threading
import time

from corefutures_conformance.deadlines import Overdue, limit, until

_OPEN = "open"


class Gate:
    """A gate that calls announce themselves at and wait for.

    Thread safety: every method may be called from any thread, process and interpreter.
    """

    def __init__(self, folder: str, seconds: float) -> None:
        """Make a gate.

        Args:
            folder: an existing empty folder that is the gate's own.
            seconds: how long a call waits at the gate before it gives up with `Overdue`.
        """
        self._folder = folder
        self._seconds = seconds

    # What calls do

    def enter(self, who: object = "") -> None:
        """Announce `who`, then wait until the gate is open."""
        self.announce(who)
        self.wait_open()

    def announce(self, who: object = "") -> None:
        """Say that `who` arrived, and go on."""
        number = time.monotonic_ns()
        while True:
            name = f"{number:020d}-{os.getpid()}-{threading.get_ident()}-{who}"
            try:
                os.close(os.open(os.path.join(self._folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                return
            except FileExistsError:
                number += 1

    def wait_open(self) -> None:
        """Wait until the gate is open.

        Raises:
            Overdue: when it was not opened in time, or was taken away.
        """
        flag = os.path.join(self._folder, _OPEN)
        end = time.monotonic() + self._seconds
        pause = 0.0005
        while not os.path.exists(flag):
            if time.monotonic() > end or not os.path.isdir(self._folder):
                raise Overdue("a call waited at a gate that nobody opened")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.005)

    @property
    def is_open(self) -> bool:
        """Whether it is open, or was taken away."""
        return os.path.exists(os.path.join(self._folder, _OPEN)) or not os.path.isdir(self._folder)

    # What rules do

    def open(self) -> None:
        """Let everybody pass, now and later."""
        os.close(os.open(os.path.join(self._folder, _OPEN), os.O_CREAT | os.O_WRONLY))

    @property
    def arrived(self) -> list[str]:
        """Who announced themselves, in order, as text."""
        names = sorted(name for name in os.listdir(self._folder) if name != _OPEN)
        return [name.split("-", 3)[3] for name in names]

    def await_arrivals(self, count: int = 1) -> None:
        """Wait until `count` calls announced themselves.

        Raises:
            Overdue: when fewer did.
        """
        try:
            until(lambda: len(os.listdir(self._folder)) >= count, "")
        except Overdue:
            there = len(self.arrived)
            raise Overdue(f"waited {limit():g} s for {count} call(s) to start: {there} did") from None
