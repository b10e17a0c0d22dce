"""The SLURM backend, with submitit's local executor, and with commands that stand in for SLURM's."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_programs import CALLS

from corefutures import BackendUnavailableError, BrokenExecutor, WorkerLostError, create_executor, get_backend

HAS_SUBMITIT = importlib.util.find_spec("submitit") is not None
HERE = Path(__file__).resolve().parent

needs_submitit = pytest.mark.skipif(
    not HAS_SUBMITIT, reason="needs the capability to import submitit (of the dependency group engines)"
)
needs_psutil = pytest.mark.skipif(
    importlib.util.find_spec("psutil") is None, reason="needs the capability to list processes: psutil"
)
STATES = {
    "TIMEOUT": r"job \d+ on \S+ ended \(TIMEOUT\) while it ran the call: its time limit was 7 minutes",
    "REQUEUED": r"ended \(REQUEUED\)",
}

PROGRAM = (
    CALLS
    + """


def note(number):
    with open("notes", "a") as file:
        print(number, file=file)


if __name__ == "__main__":
    options = dict(cluster="local", max_workers=2)
    with create_executor("slurm", initializer=prepare, initargs=("yes",), **options) as executor:
        check_calls(executor)
        error = executor.submit(kill).exception()
        assert type(error) is WorkerLostError and "while it ran the call" in str(error), error
        assert executor.submit(prepared).result() == "yes"
    dropped = create_executor("slurm", **options)
    assert dropped.submit(abs, -1).result() == 1
    left = create_executor("slurm", initializer=fail, **options)
    error = left.submit(abs, 1).exception()
    assert type(error) is BrokenExecutor and type(error.__cause__) is LookupError
    left = create_executor("slurm", **options)
    for number in range(5):
        left.submit(note, number)
    del dropped  # at the end of the program
"""
)

KILLED = """
import os
from corefutures import create_executor

executor = create_executor("slurm", cluster="local", max_workers=1)
executor.submit(abs, -1).result()
os.kill(os.getpid(), 9)
"""


def run(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    from leftovers import run_alone

    path = tmp_path / "program.py"
    path.write_text(source)
    done: subprocess.CompletedProcess[str] = run_alone(tmp_path, sys.executable, path)
    return done


@needs_submitit
@needs_psutil
def test_calls_run_in_jobs_which_leave_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, PROGRAM)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((tmp_path / "notes").read_text().split()) == list("01234")  # those that were pending at the end
    assert sorted(os.listdir(tmp_path)) == ["notes", "program.py"]


@needs_submitit
@needs_psutil
@pytest.mark.timeout(90)
def test_jobs_end_when_the_program_is_killed(tmp_path: Path) -> None:
    assert run(tmp_path, KILLED.replace("import os\n", SHORT)).returncode == -9


SHORT = """
import os
from corefutures_slurm import _engine
_engine.TIMES["local"] = 0.05, 0.0, 3.0
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a SLURM that is played; jobs are ended at the end of the test."""
    from corefutures_slurm import _engine

    folder, commands = tmp_path / "slurm", tmp_path / "bin"
    folder.mkdir()
    commands.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_slurm.py"}" {name} "$@"\n')
        (commands / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setitem(_engine.TIMES, "slurm", (0.2, 0.3, 20.0))
    monkeypatch.setattr(_engine, "_LEAVING", 30.0)  # jobs end by themselves here, however busy the machine is
    monkeypatch.syspath_prepend(str(HERE))
    import fake_slurm

    monkeypatch.setattr(fake_slurm, "FOLDER", folder)
    yield folder
    for path in folder.glob("*.pid"):
        fake_slurm.end(path.stem, "CANCELLED")


def wait_for_end(path: str) -> None:
    """Say that the call runs, and run until the job is ended."""
    Path(path).touch()
    while True:
        import time

        time.sleep(0.01)


def meet(folder: str, name: str, other: str) -> None:
    """Say that the call runs, and run until the other one runs too."""
    (Path(folder) / name).touch()
    await_text(Path(folder) / other, "")


def await_text(path: Path, text: str) -> None:
    import time

    deadline = time.monotonic() + 40
    while not path.exists() or path.read_text() != text:
        assert time.monotonic() < deadline, path.read_text() if path.exists() else f"{path} was not written"
        time.sleep(0.01)


@needs_submitit
def test_jobs_that_are_needed_together_are_an_array(slurm: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"partition": "short", "time": 7, "mem_gb": 2, "sbatch": {"reservation": "course"}}
    with create_executor("slurm", max_workers=2, folder=tmp_path / "here", **options) as executor:
        assert list(executor.map(abs, range(-20, 0))) == list(range(20, 0, -1))
        # A job that has not come up at the end is cancelled: both have to be there.
        for future in [executor.submit(meet, str(tmp_path), *names) for names in (("a", "b"), ("b", "a"))]:
            future.result(40)
    (script,) = slurm.glob("*.script")
    lines = script.read_text().splitlines()
    for line in ("array=0-1%2", "partition=short", "time=7", "mem=2GB", "reservation=course", "no-requeue"):
        assert f"#SBATCH --{line}" in lines
    for job in ("1_0", "1_1"):
        await_text(slurm / f"{job}.state", "COMPLETED")
    assert os.listdir(tmp_path / "here") == []


@needs_submitit
def test_a_job_that_still_waits_at_the_end_is_cancelled(slurm: Path, tmp_path: Path) -> None:
    with create_executor("slurm", max_workers=1, setup=["sleep 60"], folder=tmp_path / "here") as executor:
        future = executor.submit(abs, -1)
        await_text(slurm / "1.state", "RUNNING")
        executor.shutdown(wait=False, cancel_futures=True)
    assert future.cancelled()
    await_text(slurm / "1.state", "CANCELLED")
    assert os.listdir(tmp_path / "here") == []


@needs_submitit
@pytest.mark.parametrize("state", STATES)
def test_what_ends_a_job_is_told_as_the_loss_of_a_worker(slurm: Path, tmp_path: Path, state: str) -> None:
    import fake_slurm

    with create_executor("slurm", max_workers=1, time=7, folder=tmp_path / "here") as executor:
        future, waiting = executor.submit(wait_for_end, str(tmp_path / "runs")), executor.submit(abs, -2)
        await_text(tmp_path / "runs", "")
        assert future.running()
        assert not waiting.running()
        fake_slurm.end("1", state)
        with pytest.raises(WorkerLostError, match=STATES[state]) as caught:
            future.result(30)
        assert caught.value.worker == "1"
        assert waiting.result(30) == 2  # in another job
    cancelled = slurm / "cancelled"
    assert cancelled.exists() == (state == "REQUEUED")  # SLURM would start that one again


@needs_submitit
def test_a_job_that_starts_again_takes_no_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys; from corefutures_slurm._worker import serve; serve(sys.argv[1], 'w0', [], idle=30, patience=30)"
    )
    (tmp_path / "out").mkdir()
    environment = os.environ | {"SLURM_RESTART_COUNT": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, check=True, timeout=50)
    assert os.listdir(tmp_path / "out") == []


@needs_submitit
def test_jobs_that_never_take_calls_break_the_executor(slurm: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"setup": ["echo no such module >&2", "exit 1"], "folder": tmp_path / "here"}
    with create_executor("slurm", max_workers=1, **options) as executor:
        future = executor.submit(abs, -1)
        with pytest.raises(BrokenExecutor, match="3 jobs have ended before they took calls, the last one FAILED"):
            future.result(40)
        with pytest.raises(BrokenExecutor):
            executor.submit(abs, -1)


def test_without_submitit_it_is_unavailable_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match="submitit, which talks to SLURM, is not installed here"):
        create_executor("slurm")


@needs_submitit
def test_without_slurm_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendUnavailableError, match=r"sbatch and srun are not on PATH; .* cluster='local'"):
        create_executor("slurm", partition="gpu")


@needs_submitit
@pytest.mark.parametrize(
    ("options", "error", "phrase"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0, not 0"),
        ({"partition": 3}, TypeError, "partition must be a str"),
        ({"time": "1:00"}, TypeError, "time must be an integer, not '1:00'"),
        ({"time": None}, TypeError, "time must be an integer, not None"),
        ({"cpus": 0}, ValueError, "cpus must be greater than 0, not 0"),
        ({"mem_gb": "4"}, TypeError, "mem_gb must be a number of GB or None, not '4'"),
        ({"mem_gb": 0}, ValueError, "mem_gb must be greater than 0, not 0"),
        ({"setup": "module load cuda"}, TypeError, "setup must be a list of lines, not 'module load cuda': write"),
        ({"sbatch": ["x"]}, TypeError, "sbatch must be a mapping"),
        ({"idle": 0}, ValueError, "idle must be"),
        ({"cluster": "pbs"}, ValueError, "cluster must be 'slurm' or 'local', not 'pbs'"),
        ({"max_pending": 3}, TypeError, "has no option 'max_pending'"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(
    options: dict[str, Any], error: type[Exception], phrase: str
) -> None:
    assert get_backend("slurm").capabilities.survives_worker_loss
    with pytest.raises(error, match=phrase):
        create_executor("slurm", **options)


@needs_submitit
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # it is what is tested
def test_a_thread_that_dies_breaks_the_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that were pending waited for ever."""
    from corefutures_slurm import _engine

    def exit_thread(_: object) -> bool:
        raise SystemExit

    monkeypatch.setattr(_engine.SlurmEngine, "_step", exit_thread)
    with (
        create_executor("slurm", cluster="local", max_workers=1, folder=tmp_path) as executor,
        pytest.raises(BrokenExecutor, match="the thread that starts its jobs has ended"),
    ):
        executor.submit(abs, -1).result(30)
