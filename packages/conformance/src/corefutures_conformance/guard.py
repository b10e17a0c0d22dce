"""Ends a runner process, with everything that it started, when its runner says so or is gone.

A process of its own, in a session of its own: no signal that is meant for the runner reaches it. Its standard input
is a pipe that only the runner holds, which therefore ends however the runner ends, by SIGKILL too. It is run by its
file's name and imports nothing of this project.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

TRACKER_SECONDS = 1.0
"""How long what is to be killed may take to clean up after itself."""

_LOOK_UP = 0.5
"""Seconds between two looks at who the parent is: a forked child of the runner's may hold the pipe open."""


def main(process: int, folder: str) -> None:
    """Wait for the runner's word or end, then kill the runner process's session and remove its folder."""
    if sys.platform == "win32":
        os.read(0, 1)
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process)], capture_output=True, check=False)
    else:
        _wait()
        kill_session(process)
    import shutil  # here: the guard is to be on its post soon

    shutil.rmtree(folder, ignore_errors=True)


if sys.platform != "win32":

    def _wait() -> None:
        import select

        runner = os.getppid()
        while os.getppid() == runner:
            if select.select([0], [], [], _LOOK_UP)[0]:
                return

    def kill_session(leader: int) -> None:
        """Kill every process of a session, whatever process group it is in.

        They are asked first: multiprocessing's resource trackers ignore SIGTERM, unlink the shared memory and the
        semaphores that those who die leave behind, and end when all have died.

        Args:
            leader: The process that began the session; it may have ended.
        """
        _send(signal.SIGTERM, _members(leader))
        end = time.monotonic() + TRACKER_SECONDS
        while left := _members(leader):
            if time.monotonic() >= end:
                _send(signal.SIGKILL, left)
            time.sleep(0.005)
            if time.monotonic() >= 2 * TRACKER_SECONDS + end:  # not even SIGKILL ends it: the kernel is busy with it
                return

    def _send(number: int, processes: list[int]) -> None:
        for process in processes:
            try:
                os.kill(process, number)
            except (ProcessLookupError, PermissionError):  # it has ended, or has become somebody else's
                pass

    def _members(session: int) -> list[int]:
        """Return the processes of a session that have not ended."""
        if os.path.exists("/proc/self/stat"):
            found = []
            for name in os.listdir("/proc"):
                if name.isdigit():
                    try:
                        with open(f"/proc/{name}/stat", "rb") as file:
                            state, _, _, session_id = file.read().rpartition(b")")[2].split()[:4]
                    except (OSError, ValueError):  # it has just ended
                        continue
                    if int(session_id) == session and state not in b"ZX":
                        found.append(int(name))
            return found
        listing = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=False).stdout
        rows = [line.split() for line in listing.splitlines()]
        return [int(pid) for pid, state in rows if not state.startswith("Z") and _session(int(pid)) == session]

    def _session(process: int) -> int | None:
        try:
            return os.getsid(process)
        except OSError:
            return None


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
