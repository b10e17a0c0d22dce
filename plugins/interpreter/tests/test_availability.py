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


@pytest.mark.skipif(BELOW, reason="needs Python 3.14")
@pytest.mark.parametrize("bundler", ["path hook", "plain files"])
def test_a_bundle_with_an_importer_of_its_own_says_so(bundler: str) -> None:
    program = f"""
import sys
from importlib import machinery

sys.frozen = True
extensions = machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES
hook = machinery.FileFinder.path_hook(extensions, (type("Loader", (machinery.SourceFileLoader,), {{}}), [".py"]))
if {bundler!r} == "path hook":
    sys.path_hooks.insert(0, hook)
sys.path_importer_cache.clear()

import corefutures

try:
    with corefutures.create_executor("interpreter", max_workers=1) as executor:
        print(executor.submit(abs, -1).result(30))
except corefutures.BackendError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=True)
    if bundler == "plain files":
        assert done.stdout == "1\n"
    else:
        assert "this program is a bundle whose modules the main interpreter alone can import" in done.stdout


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
