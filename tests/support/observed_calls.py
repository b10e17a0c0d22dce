"""Calls of the tests in this folder, importable in workers."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path


def come_and_stay(folder: str, name: str) -> None:
    """Says that it runs, then stays until it is told to go."""
    Path(folder, name).touch()
    while not Path(folder, "go").exists():
        time.sleep(0.005)


def come_and_stop(folder: str, name: str) -> None:
    """Says that it runs, then stops the whole process."""
    Path(folder, name).touch()
    os.kill(os.getpid(), signal.SIGSTOP)


class Unspeakable:
    """Arrives nowhere but as text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def __reduce__(self) -> object:
        raise TypeError("not to be pickled")


def log_everything(number: int) -> int:
    logger = logging.getLogger("calls.deep")
    logger.debug("below the level")
    logger.info("number %d", number, extra={"where": Unspeakable("here"), "number": number})
    logger.warning("%s", Unspeakable("spoken"))
    logging.getLogger("calls.quiet").info("below its own level")
    try:
        raise LookupError("not here")
    except LookupError:
        logger.exception("it failed")
    return number


def log_many(logger: str, count: int) -> int:
    for number in range(count):
        logging.getLogger(logger).warning("%d %s", number, "x" * (number * 37 % 3000))
    return count


def log_and_die(logger: str) -> None:
    """Is killed between two halves of a record."""
    logging.getLogger(logger).warning("the last words")
    (forwarder,) = logging.getLogger().handlers
    send = forwarder._send  # type: ignore[attr-defined]
    os.write(send.__closure__[0].cell_contents, b"\xff\x00\x00\x00half a record")
    os.kill(os.getpid(), signal.SIGKILL)
