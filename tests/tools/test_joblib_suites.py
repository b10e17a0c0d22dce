"""scikit-learn's tests of `n_jobs`, and joblib's tests of backends, with `corefutures` as the backend."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)
PLUGINS = Path(__file__).with_name("joblib_suites")

#: The files of scikit-learn that have tests of `n_jobs`, in its three packages that run most in parallel.
FILES = (
    "ensemble/tests/test_bagging.py", "ensemble/tests/test_forest.py", "ensemble/tests/test_iforest.py",
    "ensemble/tests/test_voting.py", "model_selection/tests/test_search.py",
    "model_selection/tests/test_validation.py", "decomposition/tests/test_dict_learning.py",
    "decomposition/tests/test_online_lda.py", "decomposition/tests/test_sparse_pca.py",
)  # fmt: skip


def folder(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"{name} is not installed")
    return Path(found.origin).parent


def run_suite(tmp_path: Path, *arguments: object) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PLUGINS), os.environ.get("PYTHONPATH", "")])}
    settings = tmp_path / "pytest.ini"  # or else ours would hold, if the environment lies in the repository
    settings.write_text("[pytest]\n")
    options = ["-q", "-c", str(settings), "-W", "ignore", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=850, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_scikit_learn_passes_its_tests_of_n_jobs(tmp_path: Path) -> None:
    sklearn = folder("sklearn")
    printed = run_suite(tmp_path, "-p", "corefutures_as_default", *(sklearn / file for file in FILES))
    ran = re.search(r"corefutures ran (\d+) Parallels, (\d+) calls", printed)
    assert ran is not None, printed
    assert int(ran[1]) > 100  # 131, of 55 tests


def test_joblib_passes_its_tests_of_backends(tmp_path: Path) -> None:
    # Those of `nested_loop` name the backend in workers that have not imported it, as any that joblib does not bring.
    chosen = "(corefutures or register or param_backend or external_backends or context_manager) and not nested_loop"
    file = folder("joblib") / "test" / "test_parallel.py"
    printed = run_suite(tmp_path, "-p", "corefutures_joblib", "-k", chosen, file)
    passed = re.search(r"(\d+) passed", printed)
    assert passed is not None, printed
    assert int(passed[1]) > 50
