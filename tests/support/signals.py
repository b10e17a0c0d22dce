"""Runs a handler wherever Python would run a signal handler or a finaliser: at each such point in turn.

CPython looks for signals, and for garbage, when a function is entered, when a loop jumps back and after a
call; 3.11 also collects garbage when it makes a container. Tracing by instructions finds these points in
the library's own functions: what a real signal hits once in a million runs is hit each time.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_opnames: dict[CodeType, dict[int, str]] = {}


def _opname(code: CodeType, offset: int) -> str:
    names = _opnames.get(code)
    if names is None:
        names = _opnames[code] = {found.offset: found.opname for found in dis.get_instructions(code)}
    return names.get(offset, "")


#: The beginnings of the names of the instructions after which a handler or finaliser may run.
_POINTS = ("RESUME", "CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD", "BEFORE_WITH")
if sys.version_info < (3, 12):
    _POINTS += ("BUILD_",)


class Interruption:
    """Calls `handler` once, at the n-th such point inside functions of `modules`, in the current thread.

    With `raises`, only where what it raises would come through: a finaliser's error goes nowhere.
    """

    def __init__(self, number: int, handler: Callable[[], object], *modules: Any, raises: bool = False) -> None:
        self._points = tuple(name for name in _POINTS if not (raises and name == "BUILD_"))
        self._left = number
        self._handler = handler
        self._files = {module.__file__ for module in modules}
        self.happened = False
        self.where = ""

    def __enter__(self) -> Interruption:
        self._tracing_before = sys.gettrace()
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(self._tracing_before)

    def _enter_frame(self, frame: FrameType, event: str, arg: object) -> Any:
        if self.happened or frame.f_code.co_filename not in self._files:
            return None
        frame.f_trace_opcodes = True
        previous = "RESUME"

        def follow(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal previous
            frame.f_trace_opcodes = True  # again: from 3.12 on, set at the call alone it may have no effect
            if event == "opcode" and not self.happened:
                if previous.startswith(self._points):
                    self._left -= 1
                    if self._left < 0:
                        self.happened = True
                        self.where = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                        self._handler()
                previous = _opname(frame.f_code, frame.f_lasti)
            return follow

        return follow


def everywhere(
    scenario: Callable[[Callable[[Callable[[], object]], Interruption]], None], *modules: Any, raises: bool = False
) -> int:
    """Plays `scenario` again and again, interrupting it one point later each time; returns how many points.

    The scenario gets a function that makes an `Interruption` of a handler. How many points it has may depend on other
    threads: there are no more once several attempts in a row have not reached one.
    """
    number = misses = 0
    while True:
        made: list[Interruption] = []

        def interrupt(handler: Callable[[], object], number: int = number, made: Any = made) -> Interruption:
            made.append(Interruption(number, handler, *modules, raises=raises))
            return made[-1]

        try:
            scenario(interrupt)
        except BaseException as exc:
            exc.add_note(f"interrupted at point {number}: {made[-1].where or 'not at all'}")
            raise
        if made[-1].happened:
            number, misses = number + 1, 0
        elif misses == 2:
            return number
        else:
            misses += 1
