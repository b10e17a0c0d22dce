"""The end of a program while calls run in other interpreters, which `at_exit="abandon"` leaves behind.

Touches `sys.monitoring`, `atexit` and `os._exit`. CPython can't finalise while a thread runs in another interpreter. So
the process ends at once after all exit handlers have run. Guarantees: the exit status is the program's own.
"""

from __future__ import annotations

import atexit
import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from corefutures_pools.blocking import system, threading

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

#: Ids of `sys.monitoring` that no kind of tool is named for in its documentation.
_TOOL_IDS = (3, 4)

#: The exception that has left the outermost frame of the main thread last, which is the end of the program.
_last: BaseException | None = None
_watching = False


def watch_exit_status() -> None:
    """Remember from now on by which exception the program ends: Python tells nobody the exit status.

    Where two other tools monitor the program, only an exception that was printed is known.
    """
    global _watching
    monitoring = sys.monitoring
    if _watching:
        return
    _watching = True
    for tool in _TOOL_IDS:
        try:
            monitoring.use_tool_id(tool, "corefutures")
        except ValueError:  # in use
            continue
        monitoring.register_callback(tool, monitoring.events.PY_UNWIND, _on_unwind)
        monitoring.set_events(tool, monitoring.events.PY_UNWIND)
        break


def _on_unwind(code: CodeType, offset: int, error: BaseException) -> None:
    global _last
    if sys._getframe(1).f_back is None and threading.current_thread() is threading.main_thread():
        _last = error


def end_process_at_exit(runs: Callable[[], object]) -> None:
    """Have the process end after all exit handlers, before the finalisation, if `runs()` is true then.

    Call it while no exit handler has run yet: the handlers that are registered later run first.
    """
    last = sys.last_exc if _last is None and hasattr(sys, "last_exc") else _last

    def end() -> None:
        atexit.unregister(end)
        if runs():
            try:
                atexit._run_exitfuncs()
            finally:
                _end_process(last)

    atexit.register(end)


def _end_process(last: BaseException | None) -> None:
    """End the process as Python does after a program that has ended with this exception."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # None, closed, or the reader has gone
            pass
    status: Any = 0
    if isinstance(last, SystemExit):
        status = 0 if last.code is None else last.code
        if not isinstance(status, int):  # Python has printed it
            status = 1
    elif isinstance(last, KeyboardInterrupt):
        if sys.platform == "win32":
            status = 0xC000013A - (1 << 32)  # STATUS_CONTROL_C_EXIT
        else:
            import signal

            signal.signal(signal.SIGINT, signal.SIG_DFL)
            system.kill(system.getpid(), signal.SIGINT)
            status = 130
    elif last is not None:
        status = 1
    system._exit(status & 0xFF if sys.platform != "win32" else status)
