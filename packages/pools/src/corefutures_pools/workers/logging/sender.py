"""The worker's side of forwarded logs: one handler that sends every record to the pool's process.

Runs in the worker, when asked for; touches `logging`. Guarantees: what arrives is plain data, so that nothing is
unpickled in the pool's process; a record has been written when the logging call returns.
"""

from __future__ import annotations

import logging
import marshal
from struct import Struct

from corefutures._blocking import system

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

#: Comes before each record where a pipe has no messages: its size.
SIZE: Final = Struct("=I")

#: In the table of levels: what `logging.disable` was called with.
DISABLED: Final = "\0"


def forward_logs(end: Any, levels: dict[str, int]) -> None:
    """Has the records of all loggers sent to the pool's process, and handled nowhere else.

    Args:
        end: A descriptor of a pipe, or a connection.
        levels: Those that loggers have there, by name ("": the root): what is below them is not even made.
    """
    root = logging.getLogger()
    for logger in [root, *root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):  # forked, or configured by the main module
            logger.handlers.clear()
            logger.propagate = True
    logging.disable(levels.pop(DISABLED, logging.NOTSET))
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    root.addHandler(_Forwarder(_writer(end) if isinstance(end, int) else end.send_bytes))


def _writer(descriptor: int) -> Callable[[bytes], None]:
    def write(record: bytes) -> None:
        rest = memoryview(SIZE.pack(len(record)) + record)
        while rest:
            rest = rest[system.write(descriptor, rest) :]

    return write


class _Forwarder(logging.Handler):
    """Sends records; in what a call forks off it does nothing."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send
        self._process = system.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record."""
        if system.getpid() != self._process:
            return
        try:
            self._send(pack_record(record))
        except OSError:  # the pool has gone
            pass
        except Exception:
            self.handleError(record)


def pack_record(record: logging.LogRecord) -> bytes:
    """Returns a record as plain data: with its traceback as text, and its message complete if its parts are no such."""
    told = dict(vars(record))
    error = told.pop("exc_info")
    if error and not told["exc_text"]:
        told["exc_text"] = logging.Formatter().formatException(error)
    if not _is_plain((told["msg"], told["args"])):
        told["msg"], told["args"] = record.getMessage(), None
    try:
        return marshal.dumps(told)
    except ValueError:
        return marshal.dumps({name: value if _is_plain(value) else repr(value) for name, value in told.items()})


def _is_plain(value: Any) -> bool:
    try:
        marshal.dumps(value)
    except ValueError:
        return False
    return True
