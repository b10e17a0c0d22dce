"""coverage.py in the workers of pools, started as its documentation says for subprocesses."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14")
def test_interpreters_start_without_complaint(tmp_path: Path) -> None:
    (tmp_path / ".coveragerc").write_text("[run]\npatch = subprocess\nsigterm = true\nparallel = true\n")
    (tmp_path / "program.py").write_text(
        textwrap.dedent("""
        import corefutures
        if __name__ == "__main__":
            with corefutures.InterpreterPoolExecutor(2) as executor:
                print(list(executor.map(abs, [-1, -2], timeout=60)))
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "coverage", "run", "program.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout == "[1, 2]\n"
    assert "Traceback" not in done.stderr, done.stderr
