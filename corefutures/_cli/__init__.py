"""The command line: finds the command, runs it, turns its errors into one sentence.

One file a command, imported only when it is chosen; each has `main(arguments) -> exit status` and `parser()`.
Guarantees: bad input ends with status 2 and no traceback, an interrupt with status 130.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from corefutures._batch import one_line
from corefutures._cli.arguments import CommandParser, UsageError
from corefutures._exceptions import BackendError

#: What an interrupted command exits with: 128 + SIGINT.
INTERRUPTED: Final = 130

#: What a command exits with whose reader went away: 128 + SIGPIPE.
READER_LEFT: Final = 141

#: What goes wrong where output is written to: a full or broken disk, a limit, a descriptor that is closed.
_WRITING: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

#: Every command: the module that runs it and what it is for.
COMMANDS: Final = {
    "map": ("corefutures._cli.map", "run a Python function over many items"),
    "compare": ("corefutures._cli.compare", "try a function on every backend, and recommend one"),
    "trace": ("corefutures._cli.trace", "draw a recorded timeline as a page of HTML"),
    "backends": ("corefutures._cli.backends", "list the installed backends and their states"),
    "conformance": ("corefutures._cli.conformance", "certify an executor, rule by rule"),
    "new-backend": ("corefutures._cli.new_backend", "write the skeleton of a backend of your own"),
    "completion": ("corefutures._cli.completion", "print what a shell needs to complete these commands"),
}


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
    chosen = arguments[0] if arguments else None
    try:
        if chosen not in COMMANDS:
            return _without_command(arguments)
        command = import_module(COMMANDS[chosen][0])
        status: int = command.main(arguments[1:])
        return status
    except (UsageError, BackendError) as error:
        print(f"corefutures {chosen}: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as leaving:  # argparse: after --help, or after it told what is wrong
        return leaving.code if isinstance(leaving.code, int) else 1


def reader_left(error: OSError) -> bool:
    """Returns whether the error says that nobody reads a pipe any more; Windows calls that an invalid argument."""
    return isinstance(error, BrokenPipeError) or (sys.platform == "win32" and error.errno == errno.EINVAL)


def _output_is_lost() -> bool:
    """Whether standard output's reader went away; what is still in its buffer is dropped then."""
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
    """Has what is still in the buffer of standard output go nowhere."""
    with open(os.devnull, "wb") as nothing, contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(nothing.fileno(), sys.stdout.fileno())


def _without_command(arguments: Sequence[str]) -> int:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items())
    parser = CommandParser(
        prog="corefutures",
        usage="corefutures COMMAND ...",
        description="concurrent.futures with exchangeable backends, on the command line.",
        epilog=f"commands:\n{listing}\n\n`corefutures COMMAND --help` tells more about one of them.",
    )
    parser.add_argument("-V", "--version", action="store_true", help="print the version and exit")
    parser.add_argument("command", nargs="?", help="one of the commands below", metavar="COMMAND")
    parsed = parser.parse_args(list(arguments[:1]))
    if parsed.version:
        print(f"corefutures {_version()}")
        return 0
    if parsed.command is not None:
        parser.error(f"there is no command {parsed.command!r}; the commands are {', '.join(COMMANDS)}")
    parser.print_help()
    return 0


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # here for start-up time only

    try:
        return version("corefutures")
    except PackageNotFoundError:
        return "(not installed: run from its source)"
