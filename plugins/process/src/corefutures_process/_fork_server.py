"""The fork server of multiprocessing: whether it has ended, and which preloaded module ended it.

Touches `multiprocessing.forkserver`, whose object has no public state. Guarantees: a forked child starts a fork server
of its own (E11).
"""

from __future__ import annotations

import os
import sys

from corefutures_pools.blocking import clock, sleep, system, threading
from corefutures_pools.lifecycle import renew_in_child

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Final

#: Seconds for the end of a fork server whose socket is closed already.
_END_TIMEOUT: Final = 0.2
#: Seconds for the imports of the probe.
_PROBE_TIMEOUT: Final = 20.0
_MARK: Final = "corefutures imports "
_PROBE: Final = f"""
import sys
sys.path[:] = {{!r}}
for name in {{!r}}:
    print({_MARK!r} + name, file=sys.stderr, flush=True)
    try:
        __import__(name)
    except ImportError:
        pass
"""


def has_ended() -> bool:
    """Return whether the fork server has ended or is about to: a program has killed it, or written to its pipe."""
    from multiprocessing import forkserver

    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    deadline = clock.monotonic() + _END_TIMEOUT
    if sys.platform == "win32":
        return False
    while pid is not None and hasattr(os, "waitid"):
        try:
            if system.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return True
        except OSError:  # another part of the program has reaped it
            return True
        if clock.monotonic() > deadline:
            return False
        sleep(0.005)
    return True


def describe_preload() -> str:
    """Return a sentence on the modules that the fork server imports first, which ends it if one fails; or nothing."""
    from multiprocessing import forkserver

    named = getattr(forkserver._forkserver, "_preload_modules", ())
    modules = [name for name in named if name != "__main__"]
    if not modules:
        return ""
    first = f"The fork server imports {', '.join(modules)} first (set_forkserver_preload), and ends if that fails"
    try:
        failed = _failing_import(modules)
    except Exception:  # no process can be started, for example
        failed = None
    if failed is not None:
        return f"{first}: {failed}."
    return "" if "__main__" in named else f"{first}; what it says of that is on standard error."


def _failing_import(modules: list[str]) -> str | None:
    """Import the modules in a process, as the fork server does; return which one ends it, and how, or None."""
    import re
    import subprocess
    from multiprocessing import spawn, util

    flags: list[str] = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    probe = subprocess.run(
        [spawn.get_executable(), *flags, "-c", _PROBE.format(sys.path, modules)],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=_PROBE_TIMEOUT, check=False, encoding="utf-8",
        errors="backslashreplace",
    )  # fmt: skip
    begun = re.findall(_MARK + r"(\S+)", probe.stderr)
    if probe.returncode == 0 or not begun:
        return None
    output = probe.stderr.rpartition(_MARK + begun[-1])[2].split("\n")
    last = next((line for line in reversed(output) if line and not line[0].isspace()), f"exit code {probe.returncode}")
    return f"{begun[-1]} fails ({last})"


def _after_fork_in_child() -> None:
    """Leave the fork server to the parent: another one is started when a worker needs it (E11)."""
    module = sys.modules.get("multiprocessing.forkserver")
    server = getattr(module, "_forkserver", None)
    if getattr(server, "_forkserver_pid", None) is None:
        return
    alive, server._forkserver_alive_fd = server._forkserver_alive_fd, None  # type: ignore[union-attr]
    server._forkserver_pid = server._forkserver_address = None  # type: ignore[union-attr]
    server._lock = threading.Lock()  # type: ignore[union-attr]
    if alive is not None:
        system.close(alive)


renew_in_child(_after_fork_in_child)
