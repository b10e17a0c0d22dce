"""The number of processors that this process may use, which pools go by; and the processor time of workers.

Touches the operating system only. Guarantees: nothing raises, and no number is less than 1; the limit of Linux's
control groups, which may change, is at most a second old.
"""

from __future__ import annotations

import math
import os
import sys
from functools import lru_cache

from corefutures._blocking import clock, system

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Final

#: The manual's limit for pools that run in one process.
MOST: Final = 32


def usable_processors() -> int:
    """Return how many processors this process may use: by its affinity, and by the container's limit.

    Half a processor counts as a whole one. A number that Python was given (`-X cpu_count`) is taken as it is.
    """
    found = _processors_by_affinity() or 1
    if found > 1 and sys.platform.startswith("linux") and getattr(sys, "_get_cpu_count_config", lambda: -1)() < 0:
        found = min(found, _allowed(int(clock.monotonic())))
    return max(1, found)


def _processors_by_affinity() -> int | None:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count()
    if hasattr(system, "sched_getaffinity"):
        return len(system.sched_getaffinity(0))
    return os.cpu_count()


@lru_cache(1)
def _allowed(second: int) -> int:
    """Return how many processors the control groups allow, as read in that second."""
    limit = group_limit(_limits())
    return sys.maxsize if limit is None else math.ceil(limit)


def default_threads() -> int:
    """Return the default number of workers of a pool in one process: the manual's."""
    return min(MOST, usable_processors() + 4)


def thread_seconds(native_id: int | None) -> float | None:
    """Return the processor time of a thread in seconds; None if it has ended, or the platform does not tell."""
    return None if native_id is None else _clock((~native_id << 3) | 6)


def process_seconds(pid: int | None) -> float | None:
    """Return the processor time of a process in seconds; None if it has ended, or the platform does not tell."""
    return None if pid is None else _clock((~pid << 3) | 2)


def _clock(number: int) -> float | None:
    if sys.platform != "linux":  # its kernel numbers the clocks so, and refuses the ids of ended threads
        return None
    try:
        return clock.clock_gettime(number)
    except OSError:
        return None


def group_limit(files: list[tuple[str, str | None]]) -> float | None:
    """Return the least number of processors that any of the control groups allows; None if none limits it.

    Args:
        files: For each group its file `cpu.max`, or its files of the quota and of the period.
    """
    least: float | None = None
    for quota_file, period_file in files:
        try:
            with open(quota_file, encoding="ascii") as file:
                words = file.read().split()
            if period_file is not None:
                with open(period_file, encoding="ascii") as file:
                    words += file.read().split()
            quota, period = float(words[0]), float(words[1])  # an unlimited one is "max", or -1
        except (OSError, ValueError, IndexError):
            continue
        if quota > 0 and period > 0:
            least = min(quota / period, least or math.inf)
    return least


@lru_cache(1)
def _limits() -> list[tuple[str, str | None]]:
    return find_limits("/")


def find_limits(root: str) -> list[tuple[str, str | None]]:
    """Return the files with the limits of this process's control groups, and of the groups around them.

    Args:
        root: The root of the file system.
    """
    try:
        groups = _groups_of_this_process(root)
        with open(os.path.join(root, "proc/self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read().splitlines()
    except OSError:
        return []
    files: list[tuple[str, str | None]] = []
    for mount in mounts:
        # id parent major:minor root mount-point options … - type source super-options
        fields, _, rest = mount.partition(" - ")
        head, tail = fields.split(), rest.split()
        if len(head) < 5 or len(tail) < 3:
            continue
        unified = tail[0] == "cgroup2"
        if not unified and not (tail[0] == "cgroup" and "cpu" in tail[2].split(",")):
            continue
        group = groups.get("" if unified else "cpu")
        if group is None:
            continue
        top = os.path.join(root, _unescaped(head[4]).lstrip("/"))
        inside = os.path.relpath(group, _unescaped(head[3]))  # the mount may show a part of the tree
        parts = [] if inside.startswith("..") or inside == "." else inside.split("/")
        for depth in range(len(parts), -1, -1):
            folder = os.path.join(top, *parts[:depth])
            if unified:
                names: tuple[str, str | None] = os.path.join(folder, "cpu.max"), None
            else:
                names = os.path.join(folder, "cpu.cfs_quota_us"), os.path.join(folder, "cpu.cfs_period_us")
            if os.path.exists(names[0]):
                files.append(names)
    return files


def _groups_of_this_process(root: str) -> dict[str, str]:
    """Return controller → group; the unified hierarchy has no name."""
    groups = {}
    with open(os.path.join(root, "proc/self/cgroup"), encoding="utf-8", errors="surrogateescape") as file:
        for line in file.read().splitlines():
            _, controllers, group = line.split(":", 2)
            for controller in controllers.split(","):
                groups[controller] = group
    return groups


def _unescaped(path: str) -> str:
    for escaped, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(escaped, char)
    return path
