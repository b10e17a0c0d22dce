"""The MPI backend with a real MPI: each program is a process of its own, because one process starts MPI once."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from engine_programs import CALLS

from corefutures import BackendUnavailableError, create_executor, get_backend

HAS_MPI4PY = importlib.util.find_spec("mpi4py") is not None
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))

needs_mpi = pytest.mark.skipif(
    not HAS_MPI4PY or MPIEXEC is None or importlib.util.find_spec("psutil") is None,
    reason="needs the capability to run MPI: mpi4py, mpiexec (of the dependency group engines), and psutil",
)

PROGRAM = (
    CALLS
    + """
import threading


if __name__ == "__main__":
    with create_executor("mpi", max_workers=2, initializer=prepare, initargs=("yes",)) as executor:
        check_calls(executor)
        assert isinstance(executor.submit(print, threading.Lock()).exception(), TypeError)
    with create_executor("mpi", max_workers=1, initializer=fail) as executor:
        error = executor.submit(abs, 1).exception()
        assert type(error) is BrokenExecutor and type(error.__cause__) is LookupError
    left = create_executor("mpi", max_workers=1)
    for number in range(5):
        left.submit(print, number, flush=True)
"""
)


def program(tmp_path: Path, source: str) -> Path:
    path = tmp_path / "program.py"
    path.write_text(source)
    return path


def run(tmp_path: Path, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    from leftovers import run_alone

    return run_alone(tmp_path, *command, **environment)


@needs_mpi
@pytest.mark.parametrize(
    "launcher",
    [
        [str(MPIEXEC), "-n", "3", sys.executable, "-m", "mpi4py.futures"],
        [str(MPIEXEC), "-n", "1", sys.executable],
        [sys.executable],
    ],
    ids=["ranks", "launched", "alone"],
)
def test_calls_run_on_other_ranks(tmp_path: Path, launcher: list[str]) -> None:
    path = os.pathsep.join([str(Path(str(MPIEXEC)).parent), os.environ["PATH"]])
    done = run(tmp_path, *launcher, program(tmp_path, PROGRAM), PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.split()) == list("01234")  # the calls that were pending at the end have run


REFUSED = """
from corefutures import BackendUnavailableError, create_executor

try:
    create_executor("mpi")
except BackendUnavailableError as error:
    print(error)
"""


@needs_mpi
def test_alone_without_mpiexec_it_says_what_to_run(tmp_path: Path) -> None:
    done = run(tmp_path, sys.executable, program(tmp_path, REFUSED), PATH=str(tmp_path))
    assert "so that MPI can start no workers; run " in done.stdout, done.stderr
    assert "python -m mpi4py.futures program.py" in done.stdout


@needs_mpi
def test_a_program_of_many_ranks_is_told_what_to_run(tmp_path: Path) -> None:
    done = run(tmp_path, str(MPIEXEC), "-n", "2", sys.executable, program(tmp_path, REFUSED))
    assert done.stdout.count("run mpiexec -n 2 python -m mpi4py.futures program.py") == 2, done.stderr


@pytest.mark.skipif(not HAS_MPI4PY, reason="needs the capability to import mpi4py")
def test_a_machine_without_an_mpi_library_is_told_what_is_missing(tmp_path: Path) -> None:
    environment = os.environ | {"MPI4PY_MPIABI": "openmpi", "MPI4PY_LIBMPI": "no-such-library"}
    path = program(tmp_path, REFUSED)
    done = subprocess.run(
        [sys.executable, path], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert "mpi4py finds no MPI library" in done.stdout, done.stderr


def test_without_mpi4py_it_is_unavailable_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match="mpi4py is not installed here: pip install mpi4py, and mpich"):
        create_executor("mpi")


@pytest.mark.skipif(not HAS_MPI4PY, reason="needs the capability to import mpi4py")
def test_describing_it_and_refusing_options_starts_no_mpi() -> None:
    assert get_backend("mpi").capabilities.remote
    for options, error, phrase in [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0, not 0"),
        ({"initializer": 3}, TypeError, "initializer must be a callable"),
        ({"n_jobs": 2}, TypeError, "here it is called 'max_workers'"),
        ({"partition": "gpu"}, TypeError, "has no option 'partition'"),
    ]:
        with pytest.raises(error, match=phrase):
            create_executor("mpi", **options)  # type: ignore[arg-type]
    assert "mpi4py" not in sys.modules
