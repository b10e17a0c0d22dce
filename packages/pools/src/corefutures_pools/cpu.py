"""How many processors this process may use, which is what a pool has workers for; and how long workers had one.

Touches the operating system only. Guarantees: never raises, never less than 1; what Linux's control groups allow, which
may change, is at most a second old.
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
    """Returns how many processors this process may use: by its affinity, and by the container's limit.

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
    """Returns how many processors the control groups allow, as read in that second."""
    limit = group_limit(_limits())
    return sys.maxsize if limit is None else math.ceil(limit)


def default_threads() -> int:
    """Returns how many workers a pool has that runs in one process: the manual's number."""
    return min(MOST, usable_processors() + 4)


def thread_seconds(native_id: int | None) -> float | None:
    """Returns how long a thread has had a processor; None where that can't be known, or it has ended."""
    return None if native_id is None else _clock((~native_id << 3) | 6)


def process_seconds(pid: int | None) -> float | None:
    """Returns how long a process has had processors; None where that can't be known, or it has ended."""
    return None if pid is None else _clock((~pid << 3) | 2)


def _clock(number: int) -> float | None:
    if sys.platform != "linux":  # whose kernel makes the numbers of such clocks so, and tells of an id that is no more
        return None
    try:
        return clock.clock_gettime(number)
    except OSError:
        return None


def group_limit(places: list[tuple[str, str | None]]) -> float | None:
    """Returns the least number of processors that any of the control groups allows; None if none limits it.

    Args:
        places: Where that is said: for each group its file `cpu.max`, or those of the quota and of the period.
    """
    least: float | None = None
    for quota_file, period_file in places:
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
    """Returns where the limits of this process's control groups are said, and of those that they are in.

    Args:
        root: Where the system's files begin.
    """
    try:
        groups = _groups_of_this_process(root)
        with open(os.path.join(root, "proc/self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            mounts = file.read().splitlines()
    except OSError:
        return []
    places: list[tuple[str, str | None]] = []
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
                places.append(names)
    return places


def _groups_of_this_process(root: str) -> dict[str, str]:
    """Returns controller → group; the unified hierarchy has no name."""
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
