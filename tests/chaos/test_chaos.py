"""A small piece of the chaos, and what its faults and branches promise: the same seed decides the same."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import branches
import chaos
import pytest
from faults import KINDS, SETTING, Faults

HERE = Path(__file__).resolve().parent
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc, sessions and memory files are as on Linux")
#: Schedules that reach much, and take little time.
SEED, SCHEDULES = "small", [0, 10, 13]


def decisions(seed: str, role: str, rate: float = 0.1) -> list[bool]:
    faults = Faults(seed, None, {"point": rate})
    faults._role = role
    return [faults.fires("point") for _ in range(2000)]


def test_the_same_seed_decides_the_same() -> None:
    assert decisions("1", "main") == decisions("1", "main")
    assert decisions("1", "main") != decisions("2", "main")
    assert decisions("1", "main") != decisions("1", "worker 1")
    assert 120 < sum(decisions("1", "main")) < 280
    assert decisions("1", "main", 1.0) == [True] * 2000
    assert not any(Faults("1", None, {}).fires("point") for _ in range(100))


def test_a_setting_says_all() -> None:
    faults = Faults("a-1", "/nowhere/log", {"EMFILE at pipe": 0.25, "late": 1e-07})
    assert Faults.from_setting(faults.setting()).setting() == faults.setting()


REPLAYED = """
from corefutures._blocking import start_thread, threading
from corefutures_pools.wakeup import WakeupEvent
from corefutures_pools.workers.payload import Segment

for _ in range(200):
    try:
        Segment([bytes(5000)], memfds=True).to_memfds()
    except OSError:
        pass
    try:
        WakeupEvent().close()
    except OSError:
        pass
    try:
        thread = threading.Thread(target=int)
        start_thread(thread)
        thread.join()
    except RuntimeError:
        pass
"""


@linux
def test_the_same_faults_fire_at_the_same_points_when_a_seed_is_used_again(tmp_path: Path) -> None:
    rates = dict.fromkeys(
        ("EMFILE at memfd_create", "ENOSPC at pwrite", "pwrite cut short", "EMFILE at eventfd", "a thread can't start"),
        0.1,
    )

    def fired(seed: str) -> list[str]:
        log = tmp_path / "faults"
        log.unlink(missing_ok=True)
        paths = [str(HERE / "startup"), str(HERE), *filter(None, sys.path)]
        setting = Faults(seed, str(log), rates).setting()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), SETTING: setting}
        subprocess.run([sys.executable, "-c", REPLAYED], env=environment, timeout=30, check=True)
        return [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("fault|")]

    first = fired("1")
    assert {line.split("|")[1] for line in first} == set(rates)
    assert fired("1") == first
    assert fired("2") != first


def test_the_same_seed_plans_the_same() -> None:
    assert chaos.plan("1", 3) == chaos.plan("1", 3)
    assert chaos.plan("1", 3) != chaos.plan("1", 4)
    planned = {point for index in range(200) for point in chaos.plan("1", index)[2]}
    assert planned == {point for points in KINDS.values() for point in points}


@linux
@pytest.mark.parametrize("name", branches.BRANCHES)
def test_a_branch_is_where_it_is_said_to_be(name: str) -> None:
    module_name, function, line = branches.BRANCHES[name]
    if "interpreter" in module_name and sys.version_info < (3, 14):
        pytest.skip("interpreters need Python 3.14")
    module = importlib.import_module(module_name)
    assert branches.line_of(module, branches.code_of(module, function), line) > 0


def test_a_line_that_is_gone_is_told() -> None:
    with pytest.raises(LookupError, match="0 lines"):
        branches.line_of(branches, branches.watch.__code__, "no such line")
    with pytest.raises(LookupError, match="has no"):
        branches.code_of(branches, "no_such_function")


@linux
def test_a_program_without_the_setting_is_left_alone() -> None:
    """The product has no code for faults: they come with a folder on the path, and a variable."""
    paths = [str(HERE / "startup"), str(HERE), *filter(None, sys.path)]
    script = "import corefutures._blocking as b, posix; print(b.system.pipe is posix.pipe)"
    for setting, expected in (({}, "True\n"), ({SETTING: "1||"}, "False\n")):
        environment = {name: value for name, value in os.environ.items() if name != SETTING}
        environment |= {"PYTHONPATH": os.pathsep.join(paths), **setting}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stdout == expected


@linux
@pytest.mark.parametrize("index", SCHEDULES)
def test_a_small_chaos(index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    outcome = chaos.run_schedule(SEED, index, 300, tmp_path / str(index))
    assert not outcome.failures, f"{outcome.failures}\n{outcome.output}"
    left_early = any(name.startswith("exit: ") for name in outcome.counts)  # the program ends while its calls run
    assert left_early or (outcome.calls and outcome.counts["value"] + outcome.counts["end: collected"])


@linux
def test_a_run_that_reaches_too_little_fails() -> None:
    run = chaos.Run("1", 1, 1, Path())
    never = run.never()
    assert "fault: EMFILE at pipe" in never
    assert "outcome: value" in never
    run.counts.update(chaos.OUTCOMES)
    run.faults.update([*chaos.SIGNALS, *(point for points in KINDS.values() for point in points)])
    run.branches.update(branches.BRANCHES)
    assert run.never() == []
