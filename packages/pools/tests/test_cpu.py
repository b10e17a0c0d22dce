"""How many processors a process may use: affinity and control groups, from made-up trees of files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from corefutures_pools import cpu as _processors
from corefutures_pools.cpu import (
    default_threads,
    find_limits,
    group_limit,
    process_seconds,
    thread_seconds,
    usable_processors,
)

V2 = "31 23 0:28 {root} {at} rw,relatime - cgroup2 cgroup2 rw"
V1 = "32 31 0:29 {root} {at} rw,relatime shared:9 - cgroup cgroup rw,{kind}"


@pytest.fixture
def system(tmp_path: Path):
    """Returns a function that writes the files of a system, and returns what its groups allow."""

    def write(cgroup: str, mounts: list[str], **files: str) -> float | None:
        contents = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": "\n".join(mounts)}
        for path, text in {**contents, **files}.items():
            file = tmp_path / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return group_limit(find_limits(str(tmp_path)))

    return write


def v2(at: str = "/sys/fs/cgroup", root: str = "/") -> str:
    return V2.format(at=at, root=root)


def v1(at: str = "/sys/fs/cgroup/cpu", root: str = "/", kind: str = "cpu,cpuacct") -> str:
    return V1.format(at=at, root=root, kind=kind)


def test_version_2(system) -> None:
    assert system("0::/", [v2()], **{"/sys/fs/cgroup/cpu.max": "150000 100000"}) == 1.5


def test_version_2_without_a_limit(system) -> None:
    assert system("0::/", [v2()], **{"/sys/fs/cgroup/cpu.max": "max 100000"}) is None


@pytest.mark.parametrize("inner", ["max 100000", "400000 100000", None])
def test_version_2_the_tightest_of_nested_groups_counts(system, inner: str | None) -> None:
    files = {"/sys/fs/cgroup/a/cpu.max": "200000 100000", "/sys/fs/cgroup/a/b/c/cpu.max": "300000 100000"}
    if inner is not None:
        files["/sys/fs/cgroup/a/b/cpu.max"] = inner
    assert system("0::/a/b/c", [v2()], **files) == 2


def test_version_1(system) -> None:
    files = {"/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000", "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000"}
    assert system("4:memory:/\n3:cpu,cpuacct:/x\n0::/", [v1()], **files) == 0.5


def test_version_1_without_a_limit(system) -> None:
    files = {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    assert system("3:cpu:/", [v1(kind="cpu")], **files) is None


def test_version_1_nested(system) -> None:
    files = {}
    for group, quota in (("", "-1"), ("/a", "800000"), ("/a/b", "250000"), ("/a/b/c", "-1")):
        files[f"/sys/fs/cgroup/cpu{group}/cpu.cfs_quota_us"] = quota
        files[f"/sys/fs/cgroup/cpu{group}/cpu.cfs_period_us"] = "100000"
    assert system("3:cpu:/a/b/c", [v1(kind="cpu")], **files) == 2.5


def test_a_container_that_sees_a_part_of_the_tree(system) -> None:
    files = {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    assert system("3:cpu:/docker/0123", [v1(root="/docker/0123", kind="cpu")], **files) == 3


def test_a_group_outside_of_what_is_mounted(system) -> None:
    assert system("0::/../elsewhere", [v2(root="/docker")], **{"/sys/fs/cgroup/cpu.max": "100000 100000"}) == 1


def test_both_versions_at_once(system) -> None:
    files = {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000", "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}
    mounts = [v1(kind="cpu"), v1("/sys/fs/cgroup/memory", kind="memory"), v2("/sys/fs/cgroup/unified")]
    assert system("1:cpu:/\n2:memory:/\n0::/", mounts, **files) == 4


def test_a_mount_with_a_space_in_its_name(system) -> None:
    assert system("0::/", [v2("/my\\040groups")], **{"/my groups/cpu.max": "200000 100000"}) == 2


@pytest.mark.parametrize("nonsense", ["", "lots", "-5 100000", "100000 0", "100000", "\x00 \x00"])
def test_what_can_not_be_understood_limits_nothing(system, nonsense: str) -> None:
    assert system("0::/", [v2(), "garbage", "- - -"], **{"/sys/fs/cgroup/cpu.max": nonsense}) is None


def test_missing_files_limit_nothing(system, tmp_path: Path) -> None:
    assert find_limits(str(tmp_path)) == []
    assert system("0::/a", [v2()]) is None
    assert group_limit([(str(tmp_path / "gone"), None)]) is None


@pytest.mark.parametrize(("limit", "processors", "expected"), [(1.5, 8, 2), (0.1, 8, 1), (16.0, 4, 4), (None, 4, 4)])
def test_the_lesser_counts(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, processors: int, expected: int
) -> None:
    monkeypatch.setattr(_processors.sys, "platform", "linux")  # type: ignore[attr-defined]
    monkeypatch.setattr(_processors, "_processors_by_affinity", lambda: processors)
    monkeypatch.setattr(_processors, "group_limit", lambda places: limit)
    _processors._allowed.cache_clear()
    try:
        assert usable_processors() == expected
        assert default_threads() == expected + 4
    finally:
        _processors._allowed.cache_clear()


def test_pools_ask() -> None:
    import corefutures

    with corefutures.ThreadPoolExecutor() as threads, corefutures.ProcessPoolExecutor() as processes:
        assert threads._max_workers == default_threads() <= 32
        assert processes._max_workers == usable_processors()
    assert usable_processors() <= (os.cpu_count() or 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the time of other threads and processes")
def test_what_workers_used_is_counted() -> None:
    import corefutures

    for kind in ("thread", "process"):
        with corefutures.create_executor(kind, max_workers=1) as pool:
            pool.submit(sum, range(2_000_000)).result(30)
            used = pool.stats().cpu_time
            assert used is not None
            assert 0 < used < 60
        assert pool.stats().cpu_time == 0
    assert thread_seconds(None) is process_seconds(None) is None
    assert process_seconds(2**22 + 1) is None  # no process has that number
