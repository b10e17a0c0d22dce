"""Stacks of threads: those of this interpreter, and those that `faulthandler` writes elsewhere.

Touches the interpreter's frames and `faulthandler`. Guarantees: no lock is taken, so that a signal handler may look;
the frames of another interpreter, whose threads don't wait for our GIL, are never read.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from corefutures._blocking import clock, original, system
from corefutures_pools.descriptors import above_standard, standard_reserved

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A pipe of this size holds the stacks of hundreds of threads.
_PIPE_SIZE: Final = 1 << 20
_F_SETPIPE_SZ: Final = 1031  # Linux's number

_THREAD: Final = re.compile(r"(?:Current t|T)hread 0x([0-9a-f]+)")
_HEADER: Final = "Stack (most recent call first)"
_FRAME: Final = re.compile(r'  File "(.*)", line (\d+) in (.*)')


class Frame(NamedTuple):
    """One line of a stack.

    Attributes:
        file: The file of the code.
        line: The number of the line that runs.
        function: The function's name.
    """

    file: str
    line: int
    function: str


def own_stacks() -> dict[int, list[Frame]]:
    """Return the stack of every thread of this interpreter, innermost last, by the thread's ident.

    Thread safety: may be called from any thread or signal handler.
    """
    # `sys._current_frames` makes objects of the frames of all interpreters' threads, which run meanwhile, each with a
    # GIL of its own. `faulthandler` keeps to one interpreter; its lines have less information.
    if "_interpreters" in sys.modules or "_xxsubinterpreters" in sys.modules:
        return _written_stacks()
    stacks: dict[int, list[Frame]] = {}
    for ident, innermost in sys._current_frames().items():
        frames = []
        frame = innermost
        while frame is not None:
            code = frame.f_code
            frames.append(Frame(code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_qualname))
            frame = frame.f_back  # type: ignore[assignment]
        stacks[ident] = frames[::-1]
        del innermost, frame  # no cycle: this frame is among them
    return stacks


def _written_stacks() -> dict[int, list[Frame]]:
    try:
        import faulthandler
    except ImportError:  # a worker interpreter, in which it can't be loaded
        return {}
    try:
        with standard_reserved:
            outlet, inlet = map(above_standard, system.pipe())
    except OSError:  # no descriptor is left, and a snapshot may tell why: better one without stacks
        return {}
    try:
        system.set_blocking(inlet, False)  # it is read afterwards: what does not fit is lost
        system.set_blocking(outlet, False)
        if sys.platform == "linux":
            import fcntl

            try:
                fcntl.fcntl(inlet, _F_SETPIPE_SZ, _PIPE_SIZE)
            except OSError:  # the user's limit is lower
                pass
        faulthandler.dump_traceback(inlet, all_threads=True)
        text = b""
        try:
            while piece := system.read(outlet, 1 << 16):
                text += piece
        except BlockingIOError:
            pass
    finally:
        system.close(outlet)
        system.close(inlet)
    written: dict[int, list[str]] = {}
    lines: list[str] = []
    for line in text.decode("ascii", "replace").splitlines():
        if (match := _THREAD.match(line)) is not None:
            lines = written[int(match[1], 16)] = []
        else:
            lines.append(line)
    return {ident: read_frames(lines) for ident, lines in written.items()}


def read_frames(lines: Iterable[str]) -> list[Frame]:
    """Return the frames in lines that `faulthandler` wrote, innermost last; other lines are skipped."""
    matches = [match for line in lines if (match := _FRAME.match(line)) is not None]
    return [Frame(match[1], int(match[2]), match[3]) for match in reversed(matches)]


def write_frames(frames: Iterable[Frame]) -> str:
    """Return the frames as lines for `read_frames`."""
    return "".join(f'  File "{file}", line {line} in {function}\n' for file, line, function in reversed(list(frames)))


def from_call_on(frames: list[Frame], entrances: Iterable[tuple[str, str]]) -> list[Frame]:
    """Return the frames of the outermost call: those after the first function of ours that runs calls.

    Args:
        frames: A worker's stack, innermost last.
        entrances: The file's base name and the name of each function that runs calls.

    Returns:
        All frames if no such function is among them; none if it is the last one.
    """
    known = set(entrances)
    for index, frame in enumerate(frames):
        if (os.path.basename(frame.file), frame.function) in known:
            return frames[index + 1 :]
    return frames


def discard_stacks(descriptor: int) -> None:
    """Read away the rest of an earlier answer; `descriptor` is the non-blocking end of a pipe."""
    with contextlib.suppress(BlockingIOError):
        while system.read(descriptor, 1 << 16):
            pass


def collect_stack(descriptor: int, deadline: float, end: re.Pattern[str], begin: float = inf) -> list[Frame]:
    """Return the stack that `faulthandler` writes into a pipe, innermost last.

    Args:
        descriptor: The pipe's non-blocking end.
        deadline: The time, by `time.monotonic`, at which to stop waiting.
        end: Matches the last line of interest: the number of lines after it is not known.
        begin: The time at which to stop waiting if nothing has come.
    """
    if sys.platform == "win32":
        raise OSError("pipes can't be waited for here")
    from corefutures._blocking import select

    poll = (select if hasattr(select, "poll") else original("select")).poll()
    poll.register(descriptor, select.POLLIN)
    text = ""
    while not ((begun := text.rfind(_HEADER)) >= 0 and end.search(text, begun)):
        left = (deadline if text else min(begin, deadline)) - clock.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            break
        with contextlib.suppress(BlockingIOError):
            piece = system.read(descriptor, 1 << 16)
            if not piece:
                break
            text += piece.decode("ascii", "replace")
    if begun < 0:
        return []
    match = end.search(text, begun)
    return read_frames(text[begun : None if match is None else match.end()].splitlines())
