"""The worker: a job that takes calls from its folder, one at a time, until it is told to end.

Runs in the job. Guarantees: a call is taken by renaming its file, so that it runs at most once; a file appears whole.
"""

# Files of a worker's folder: `N.call` (call N, not taken), `N.run` (taken). Files of the folder `out`: `W.up` (worker W
# takes calls), `N.done` (the outcome of call N). Files of the executor's folder: `end` (workers are to end), `alive`
# (touched while the executor lives).

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from corefutures_pools import wire
from corefutures_pools.blocking import clock, system

#: Seconds between two looks at the folder, at first and at most.
_SHORTEST: Final = 0.001
_LONGEST: Final = 0.05


def write(path: Path, content: bytes) -> None:
    """Write a file that appears at once, whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_bytes(content)
    temporary.rename(path)


def entries(folder: Path) -> list[str]:
    """Return the names in a folder, as the file server has them: a change of the mode renews what this machine knows.

    Raises:
        OSError: There is no such folder.
    """
    system.chmod(folder, 0o700)
    return system.listdir(folder)


def serve(folder: str, worker: str, path: list[str], idle: float, patience: float) -> None:
    """Run calls until there is nothing more to do.

    Args:
        folder: The executor's.
        worker: The name of this worker.
        path: The `sys.path` of the executor's program; what is missing here is added.
        idle: Seconds without a call after which the worker ends.
        patience: Seconds after which the worker ends if the executor's program does not tell that it lives.
    """
    leaving = False

    def leave(*_: Any) -> None:
        nonlocal leaving
        leaving = True

    # SLURM's signal before the time limit, or before another job takes the machine: the call that runs may still end.
    if sys.platform != "win32":  # for type checkers
        signal.signal(signal.SIGUSR2, leave)
    if int(os.environ.get("SLURM_RESTART_COUNT", "0")):
        return  # SLURM has queued the job again: the call that it ran is lost, and must not run twice
    sys.path.extend(part for part in path if part not in sys.path)
    shared = Path(folder)
    own = shared / worker
    try:
        write(shared / "out" / f"{worker}.up", f"{socket.gethostname()} {system.getpid()}".encode())
        delay, told = _SHORTEST, -1.0
        used = heard = clock.monotonic()
        while not leaving:
            name = next((name for name in entries(own) if name.endswith(".call")), None)
            if name is not None:
                _run(shared, own, name.removesuffix(".call"))
                delay, used = _SHORTEST, clock.monotonic()
                continue
            now = clock.monotonic()
            if (touched := (shared / "alive").stat().st_mtime) != told:
                told, heard = touched, now
            if now - used > idle or now - heard > patience or (shared / "end").exists():
                return
            time.sleep(delay)
            delay = min(2 * delay, _LONGEST)
    except FileNotFoundError:  # the executor has ended and removed its folder
        if shared.exists():
            raise


def _run(shared: Path, own: Path, number: str) -> None:
    taken = own / f"{number}.run"
    try:
        (own / f"{number}.call").rename(taken)
    except FileNotFoundError:  # the executor has taken it back
        return
    write(shared / "out" / f"{number}.done", wire.run(*pickle.loads(taken.read_bytes())))
    taken.unlink(missing_ok=True)
