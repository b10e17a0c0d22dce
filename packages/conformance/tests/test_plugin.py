"""The six lines: subclass `ExecutorTests`, run pytest with the plugin."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SIX_LINES = """\
from reference import ThreadExecutor
from corefutures_conformance import ExecutorTests

class TestMine(ExecutorTests):
    def make_executor(self, max_workers, **options):
        return ThreadExecutor(max_workers, **options)
"""
STANDARD = SIX_LINES.replace(
    "reference import ThreadExecutor", "concurrent.futures import ThreadPoolExecutor as ThreadExecutor"
)
TWO = "passes_no_arguments or passes_a_keyword_called_fn"


def run(folder: Path, text: str, *arguments: str, name: str = "test_mine.py") -> subprocess.CompletedProcess[str]:
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "corefutures_conformance.plugin", "-ra", "-vv", *arguments],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
        cwd=folder,
        env=environment,
    )


def test_a_conformant_executor(tmp_path: Path) -> None:
    done = run(tmp_path, SIX_LINES, "-k", "cancelling or test_passes_no_arguments or cancel_returns")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b\d+ passed", done.stdout)
    assert "test_mine.py::TestMine: conformant" in done.stdout


def test_importing_the_base_class_collects_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "from corefutures_conformance import ExecutorTests\n", "--collect-only")
    assert "no tests collected" in done.stdout


def test_a_broken_rule_is_a_failed_test(tmp_path: Path) -> None:
    text = SIX_LINES.replace(
        "from reference import ThreadExecutor", "from saboteurs import LeavingLater as ThreadExecutor"
    )
    done = run(tmp_path, text, "-k", "test_passes_no_arguments")
    assert done.returncode == 1
    assert "rule submitting.passes_no_arguments (MUST, failed)" in done.stdout
    assert "demands:  submit(fn) MUST execute fn()." in done.stdout
    assert "exit status 17" in done.stdout
    assert "test_mine.py::TestMine: nonconformant" in done.stdout


def test_an_executor_that_runs_nothing_is_one_failure(tmp_path: Path) -> None:
    text = SIX_LINES.replace("from reference import ThreadExecutor", "from saboteurs import Refusing as ThreadExecutor")
    done = run(tmp_path, text, "-k", "test_passes")
    assert done.returncode == 1
    assert re.search(r"\b1 failed, \d+ skipped", done.stdout)
    assert "not even one call was: OSError: no workers today" in done.stdout
    assert "test_mine.py::TestMine: incomplete as far as selected" in done.stdout


def test_a_hang_is_a_failed_test(tmp_path: Path) -> None:
    text = SIX_LINES.replace(
        "from reference import ThreadExecutor", "from saboteurs import HangingOnce as ThreadExecutor"
    )
    done = run(tmp_path, f"{text}\n    deadline = 2.0\n", "-k", TWO)
    assert done.returncode == 1
    assert "(MUST, overdue)" in done.stdout
    assert "saboteurs.py" in done.stdout, "no stack shows where the executor hangs"
    assert "1 failed, 1 passed" in done.stdout, "the rule after the hang was not run"


def test_expected_failures(tmp_path: Path) -> None:
    text = SIX_LINES.replace(
        "from reference import ThreadExecutor", "from saboteurs import HangingOnce as ThreadExecutor"
    )
    expected = '    deadline = 2.0\n    expected_failures = {"submitting.passes_a_keyword_called_fn": "it hangs"}\n'
    done = run(tmp_path, f"{text}\n{expected}", "-k", TWO)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "1 xfailed" in done.stdout
    assert "conformant-with-exceptions" in done.stdout


def test_expected_failures_are_strict(tmp_path: Path) -> None:
    expected = '    expected_failures = {"submitting.passes_a_keyword_called_fn": "it hangs"}\n'
    done = run(tmp_path, f"{SIX_LINES}\n{expected}", "-k", TWO)
    assert done.returncode == 1
    assert "expected to fail (it hangs), but passed" in done.stdout


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('    expected_failures = {"submitting.nonsense": "x"}\n', "'submitting.nonsense', which is no rule"),
        (
            "    def test_passes_no_arguments(self):\n        pass\n",
            "overrides the rule submitting.passes_no_arguments",
        ),
    ],
    ids=["unknown rule", "overridden rule"],
)
def test_misuse_is_an_error(tmp_path: Path, line: str, complaint: str) -> None:
    done = run(tmp_path, f"{SIX_LINES}\n{line}")
    assert done.returncode == 2
    assert complaint in done.stdout


def test_an_advisory_does_not_fail(tmp_path: Path) -> None:
    done = run(tmp_path, STANDARD, "-k", "test_wait_sees_a_cancellation_at_once")
    assert done.returncode == 0, done.stdout
    assert "advisory: cancelling.wait_sees_a_cancellation_at_once (SHOULD)" in done.stdout


@pytest.mark.parametrize("line", ["    strict = True\n", "    declares_contract = True\n"])
def test_an_advisory_can_be_made_to_count(tmp_path: Path, line: str) -> None:
    done = run(tmp_path, f"{STANDARD}\n{line}", "-k", "test_wait_sees_a_cancellation_at_once")
    assert done.returncode == 1, done.stdout


def test_a_rule_that_does_not_apply_is_a_skip_with_its_reason(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        f"{SIX_LINES}\n    capabilities = {{'pickles': False}}\n",
        "-k",
        "serialises_arguments_at_submit",
    )
    assert done.returncode == 0, done.stdout
    assert "not-applicable: the rule is for executors with the capability 'pickles'" in " ".join(done.stdout.split())


def test_fixtures_and_other_tests_of_the_class_work(tmp_path: Path) -> None:
    text = """\
import pytest
from reference import ThreadExecutor
from corefutures_conformance import ExecutorTests

class TestMine(ExecutorTests):
    @pytest.fixture(autouse=True)
    def kind(self):
        self.kind = ThreadExecutor

    def make_executor(self, max_workers, **options):
        return self.kind(max_workers, **options)

    def test_of_my_own(self):
        assert self.kind is ThreadExecutor
"""
    done = run(tmp_path, text, "-k", "passes_no_arguments or of_my_own")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_class_without_make_executor_says_so(tmp_path: Path) -> None:
    text = "from corefutures_conformance import ExecutorTests\nclass TestMine(ExecutorTests):\n    pass\n"
    done = run(tmp_path, text, "-k", "test_passes_no_arguments")
    assert done.returncode == 1
    assert "TestMine must define make_executor(self, max_workers, **options)" in done.stdout


def test_two_classes_in_one_file(tmp_path: Path) -> None:
    text = SIX_LINES + "\nclass TestOther(TestMine):\n    pass\n"
    done = run(tmp_path, text, "-k", "test_passes_no_arguments")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert "TestOther: conformant" in done.stdout


def test_runs_that_certify_nothing_pay_nothing_for_the_plugin(tmp_path: Path) -> None:
    text = """
import sys

def test_nothing_of_the_kit_was_imported():
    ours = {name for name in sys.modules if name.startswith("corefutures")}
    ours -= {"corefutures_testing", "corefutures_testing.plugin"}  # another plugin, where it is installed
    assert ours == {"corefutures_conformance", "corefutures_conformance.plugin"}
"""
    done = run(tmp_path, text)
    assert done.returncode == 0, done.stdout
