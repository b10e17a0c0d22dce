"""The worker's side of forwarded logs: one handler that sends every record to the pool's process.

Runs in workers whose logs are forwarded; touches `logging`. Guarantees: records are marshalled, so the pool's process
unpickles nothing; a record has been written when the logging call returns.
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

#: The header of a record in a pipe without messages: its size.
SIZE: Final = Struct("=I")

#: The key in the table of levels for the level that `logging.disable` has set.
DISABLED: Final = "\0"


def forward_logs(end: Any, levels: dict[str, int]) -> None:
    """Send the records of all loggers to the pool's process instead of handling them here.

    Args:
        end: The descriptor of a pipe, or a connection.
        levels: The levels of the loggers there, by name ("" for the root): no record below them is made.
    """
    root = logging.getLogger()
    for logger in [root, *root.manager.loggerDict.values()]:
        if isinstance(logger, logging.Logger):  # inherited by fork, or configured by the main module
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
    """Sends records; does nothing in a process that a call has forked."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send
        self._process = system.getpid()

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record."""
        if system.getpid() != self._process:
            return
        try:
            self._send(pack_record(record))
        except OSError:  # the pool's process has ended
            pass
        except Exception:
            self.handleError(record)


def pack_record(record: logging.LogRecord) -> bytes:
    """Return a marshalled record, with its traceback as text, and its message formatted if `marshal` refuses it."""
    fields = dict(vars(record))
    error = fields.pop("exc_info")
    if error and not fields["exc_text"]:
        fields["exc_text"] = logging.Formatter().formatException(error)
    if not _can_marshal((fields["msg"], fields["args"])):
        fields["msg"], fields["args"] = record.getMessage(), None
    try:
        return marshal.dumps(fields)
    except ValueError:
        return marshal.dumps({name: value if _can_marshal(value) else repr(value) for name, value in fields.items()})


def _can_marshal(value: Any) -> bool:
    try:
        marshal.dumps(value)
    except ValueError:
        return False
    return True
