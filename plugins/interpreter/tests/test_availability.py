"""Where the backend runs, and what it says where it doesn't. Runs on every Python."""

from __future__ import annotations

import subprocess
import sys

import pytest

import corefutures

BELOW = sys.version_info < (3, 14)


@pytest.mark.skipif(not BELOW, reason="Python 3.14 and newer have concurrent.interpreters")
def test_below_314_it_is_unavailable_and_says_why():
    assert corefutures.backends()["interpreter"].state in ("installed", "unavailable")
    with pytest.raises(corefutures.BackendUnavailableError, match=r"(?s)interpreter.*needs Python 3\.14"):
        corefutures.create_executor("interpreter")


@pytest.mark.skipif(BELOW, reason="needs Python 3.14")
def test_it_can_be_made_by_name():
    from concurrent.futures import InterpreterPoolExecutor

    with corefutures.create_executor("interpreter", max_workers=1) as executor:
        assert isinstance(executor, InterpreterPoolExecutor)
        assert type(executor) is corefutures.InterpreterPoolExecutor
        assert executor.submit(len, "four").result() == 4


@pytest.mark.skipif(BELOW, reason="needs Python 3.14")
def test_a_build_without_interpreters_says_so():
    program = (
        "import sys; sys.modules['_interpreters'] = None\n"
        "import corefutures\n"
        "try: corefutures.create_executor('interpreter')\n"
        "except corefutures.BackendUnavailableError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert "this build of Python has no concurrent.interpreters" in done.stdout


def test_describing_it_imports_nothing_of_it():
    program = (
        "import sys, corefutures\n"
        "try: corefutures.get_backend('interpreter')\n"
        "except corefutures.BackendUnavailableError: pass\n"
        "print([n for n in sys.modules if n.startswith('corefutures_interpreter')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.strip() == str(
        ["corefutures_interpreter", "corefutures_interpreter._availability", "corefutures_interpreter._plugin"]
    )
