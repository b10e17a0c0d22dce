"""A program that PyInstaller has frozen: every local backend works there, or says why not."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

NAME = str(sysconfig.get_config_var("INSTSONAME"))
#: Where Python's own library is: a Python that was moved has it elsewhere than it says.
PLACES = (str(sysconfig.get_config_var("LIBDIR")), f"{sys.base_prefix}/lib/{sysconfig.get_config_var('MULTIARCH')}")
LIBRARY = next((path for path in (Path(place, NAME) for place in PLACES) if path.is_file()), None)

pytestmark = [
    pytest.mark.timeout(500),
    pytest.mark.skipif(LIBRARY is None, reason="PyInstaller needs a Python whose library is a shared one"),
]

PROGRAM = """
import multiprocessing
import os
import sys

import corefutures as futures


def double(number):
    return 2 * number


if __name__ == "__main__":
    multiprocessing.freeze_support()
    for backend in ("thread", "process"):
        with futures.create_executor(backend, max_workers=2) as executor:
            print(backend, list(executor.map(double, [1, 2], timeout=60)))
    for name in ("ThreadPoolExecutor", "ProcessPoolExecutor"):
        with getattr(futures, name)(2) as executor:
            print(name, list(executor.map(double, [1, 2], timeout=60)))
    for method in multiprocessing.get_all_start_methods():
        with futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as executor:
            print(method, list(executor.map(double, [1, 2], timeout=60)))
    try:
        with futures.create_executor("interpreter") as executor:
            print("interpreter", executor.submit(abs, -1).result(60))
    except futures.BackendError as error:
        print(error)
    print(*futures.backends())
    with futures.trace(os.devnull), futures.create_executor("thread", max_workers=1) as executor:
        executor.submit(double, 1).result(60)
"""


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frozen")
    (folder / "program.py").write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    (folder / "lib").mkdir()  # with nothing else in it: beside it there may be a C library that fits nobody else
    if LIBRARY is not None and str(LIBRARY.parent) != PLACES[0]:
        (folder / "lib" / NAME).symlink_to(LIBRARY)
    done = subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--log-level=ERROR", "--onedir", "program.py"],
        cwd=folder, capture_output=True, text=True, timeout=400, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder / "lib")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist" / "program" / "program"


def test_pools_work_in_a_frozen_program(frozen: Path) -> None:
    done = subprocess.run([frozen], capture_output=True, text=True, timeout=90, check=False, stdin=subprocess.DEVNULL)
    if "Failed to load Python shared library" in done.stderr and "GLIBC" in done.stderr:
        pytest.skip("the shared library of this Python needs a newer C library than the platform has")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    expected = ["thread", "process", "ThreadPoolExecutor", "ProcessPoolExecutor"]
    if sys.platform != "win32":
        assert {line.split()[0] for line in lines[4:-2]} == {"fork", "spawn", "forkserver"}
    assert [line.split()[0] for line in lines[:4]] == expected
    assert all(line.endswith(" [2, 4]") for line in lines[:-2]), done.stdout
    assert "interpreter" in lines[-2]
    assert "3.14" in lines[-2] or "bundle" in lines[-2]
    assert lines[-1].split() == ["interpreter", "loky", "process", "thread"]


def test_a_bundle_brings_neither_the_kit_nor_dask(frozen: Path) -> None:
    inside = {path.name for path in (frozen.parent / "_internal").iterdir()}
    assert not inside & {"distributed", "dask", "pytest", "hypothesis"}
    assert any(name.startswith("corefutures_process-") for name in inside)
