"""The command line: find the command, run it, turn its errors into one sentence; the parts that commands share.

A command is a module, found by the entry-point group `corefutures.commands`, with `main(arguments) -> exit status`
and, for completion, `parser()`. It is imported only when it is chosen.
Guarantees: bad input ends with status 2 and no traceback, an interrupt with status 130.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence
from typing import Final

from corefutures import __version__
from corefutures._blocking import select
from corefutures._error_text import one_line
from corefutures._exceptions import BackendError
from corefutures.cli._arguments import (
    CommandParser as CommandParser,
    UsageError as UsageError,
    add_backend_options as add_backend_options,
    backend_options as backend_options,
    make_here_importable as make_here_importable,
    seconds as seconds,
)
from corefutures.cli._finding import CommandError, commands as commands, find_command as find_command

__all__ = [
    "INTERRUPTED",
    "READER_LEFT",
    "CommandParser",
    "UsageError",
    "add_backend_options",
    "backend_options",
    "commands",
    "find_command",
    "main",
    "make_here_importable",
    "reader_left",
    "seconds",
]

#: Exit status of an interrupted command: 128 + SIGINT.
INTERRUPTED: Final = 130

#: Exit status of a command whose reader went away: 128 + SIGPIPE.
READER_LEFT: Final = 141

#: Errors of the place that output is written to: a full or broken disk, a limit, a closed descriptor.
_WRITING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


def main(arguments: Sequence[str]) -> int:
    """Run one command line.

    Args:
        arguments: The words after the program's name.

    Returns:
        The exit status: 0 success, 1 the command's own failure, 2 bad input, 130 interrupted, 141 nobody reads what
        it prints.
    """
    try:
        status = _status(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except OSError as error:
        if reader_left(error) and _output_is_lost():
            return READER_LEFT
        if error.errno not in _WRITING or error.filename is not None:
            raise
        print(f"corefutures: cannot write the output: {error.strerror}", file=sys.stderr)
        _drop_output()
        return 1


def _status(arguments: Sequence[str]) -> int:
    chosen = None
    try:
        if not arguments or arguments[0].startswith("-"):
            return _without_command(arguments)
        command = find_command(arguments[0])
        run = command.load().main
        chosen = command.name
        status: object = run(list(arguments[1:]))
        if status is not None and not isinstance(status, int):
            raise command.broken(f"its main() returned {status!r:.40}, not an exit status")
        return status or 0
    except (CommandError, UsageError, BackendError) as error:
        name = "corefutures" if chosen is None else f"corefutures {chosen}"
        print(f"{name}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as leaving:  # argparse: after --help, or after it said what is wrong
        return leaving.code if isinstance(leaving.code, int) else 1


def reader_left(error: OSError) -> bool:
    """Return whether the error says that nobody reads a pipe any more; Windows calls that an invalid argument.

    Args:
        error: What writing raised.
    """
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


def _output_is_lost() -> bool:
    """Return whether standard output's reader went away; then the rest of its buffer is dropped."""
    try:
        output = sys.stdout.fileno()
        if sys.platform != "win32":
            pipe = select.poll()
            pipe.register(output, select.POLLOUT)
            if not any(state & (select.POLLERR | select.POLLHUP) for _, state in pipe.poll(0)):
                return False
    except (AttributeError, OSError, ValueError):  # it is closed, or nothing that the system knows
        return False
    _drop_output()
    return True


def _drop_output() -> None:
    """Write the rest of standard output's buffer to the null device."""
    with open(os.devnull, "wb") as nothing, contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _without_command(arguments: Sequence[str]) -> int:
    found = commands()
    width = max(map(len, found))
    listing = "\n".join(f"  {name:<{width}}  {command.summary}".rstrip() for name, command in found.items())
    parser = CommandParser(
        prog="corefutures",
        usage="corefutures COMMAND ...",
        description="concurrent.futures with exchangeable backends, on the command line.",
        epilog=f"commands:\n{listing}\n\n`corefutures COMMAND --help` says more about one of them.",
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    if parser.parse_args(list(arguments[:1])).version:
        print(f"corefutures {__version__}")
        return 0
    parser.print_help()
    return 0
