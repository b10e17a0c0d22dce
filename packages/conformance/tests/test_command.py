"""`corefutures conformance`: its output, its reports, its exit statuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from corefutures_conformance.executor_tests import RULES
from corefutures_conformance.reporting.stored import read_reports

TWO = "passes_no_arguments or cancel_returns_false_once_running"


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corefutures", "conformance", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=55,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1"},
    )


def test_a_conformant_target() -> None:
    done = run("reference:ThreadExecutor", "-k", TWO)
    assert done.returncode == 0, done.stderr
    assert "target        reference:ThreadExecutor" in done.stdout
    assert "same_process = yes (probed)" in done.stdout
    assert re.search(r"^cancelling +[.] +1/1 ", done.stdout, re.MULTILINE)
    assert "legend        . kept" in done.stdout
    assert "the verdict is on these alone" in done.stdout
    assert done.stdout.endswith(f"conformant as far as selected (-k '{TWO}', 2 of {len(RULES)} rules) – 2 passed\n")


def test_a_nonconformant_target() -> None:
    done = run("mutants.cancelling:CancelOfRunningSaysTrue", "-k", TWO)
    assert done.returncode == 1
    assert "demands   cancel() MUST return False" in done.stdout
    assert "happened  cancel() did not return False" in done.stdout
    alone = re.search(r"alone +corefutures (conformance .*)$", done.stdout, re.MULTILINE)
    assert alone is not None
    again = run(*alone[1].split()[1:])
    assert again.returncode == 1
    assert "1 failed" in again.stdout


def test_several_targets_side_by_side() -> None:
    done = run("reference:ThreadExecutor", "mutants.cancelling:CancelOfRunningSaysTrue", "-k", TWO)
    assert done.returncode == 1
    assert "A = reference:ThreadExecutor" in done.stdout
    row = re.search(r"^cancelling.cancel_returns_false_once_running +(\S+) +(\S+)$", done.stdout, re.MULTILINE)
    assert row is not None
    assert row.groups() == ("passed", "failed")


def test_listing() -> None:
    done = run("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == [rule.id for rule in RULES.values()]


def test_listing_a_selection() -> None:
    done = run("--list", "-k", TWO)
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "name a target"),
        (("no-such-backend",), "no-such-backend"),
        (("no_such_module:x",), "no_such_module"),
        (("math:pi",), "not callable"),
        (("thread", "-k", "nothing_like_it"), "no rule matches"),
        (("thread", "-k", "a and"), "cannot read the expression"),
        (("thread", "-o", "nonsense"), "key=value"),
        (("thread", "--capabilities", "flies=yes"), "NAME=yes"),
        (("thread", "--timeout", "0"), "greater than 0"),
        (("thread", "--repeat", "none"), "--repeat"),
        (("thread", "--no-such-option"), "--no-such-option"),
        (("thread", "-k", TWO, "--json", "no/such/folder/file"), "no/such/folder"),
        (("thread", "-o", "max_worker=3"), "not even one call was: TypeError: backend 'thread' has no option"),
        (("thread", "-o", "max_workers=3"), "leave 'max_workers' out"),
        (
            ("saboteurs:Refusing",),
            "saboteurs:Refusing: no rule was run, because not even one call was: OSError: no workers",
        ),
        (("saboteurs:Leaving",), "the process that used the executor died: exit status 17"),
        (("saboteurs:Hanging", "--timeout", "2"), "waited 1.2 s for submit() to return"),
        (("reference:ThreadExecutor", "saboteurs:Refusing"), "saboteurs:Refusing: no rule was run"),
    ],
)
def test_bad_usage_is_one_sentence(arguments: tuple[str, ...], complaint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stdout
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "passed" not in done.stdout, "a target was judged although another cannot be"


def test_one_mistake_is_told_once() -> None:
    done = run("saboteurs:TellingNothing", "-k", "submitting and keyword")
    assert done.returncode == 1
    assert "── 7 rules for one cause (failed)" in done.stdout
    _, _, told = done.stdout.partition("──")
    assert told.count("OSError: there is no worker") == 2, "once as what happened, once in the traceback"
    assert "saboteurs.py" in told
    for frame in ("corefutures_conformance/fixtures.py", "corefutures_conformance/deadlines.py", "_pytest", "pluggy"):
        assert frame not in told.replace(os.sep, "/")


def test_stacks_are_those_of_the_executor() -> None:
    done = run("saboteurs:HangingOnce", "-k", "passes_a_keyword_called_fn", "--timeout", "2")
    assert done.returncode == 1
    stacks = [line for line in done.stdout.splitlines() if line.startswith("   │   File")]
    assert any("saboteurs.py" in line for line in stacks)
    assert not any("pytest" in line or "corefutures_conformance" in line for line in stacks)


@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", [("--list",), ("reference:ThreadExecutor", "-k", TWO)], ids=["list", "report"])
def test_a_reader_that_leaves_is_no_error(arguments: tuple[str, ...], buffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "corefutures", "conformance", *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=55,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": buffered, "PYTHONUTF8": "1"},
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


ends_with_its_parent = pytest.mark.skipif(sys.platform == "win32", reason="Windows: no signal ends one other process")


@ends_with_its_parent
@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_what_it_started_ends_with_it(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "processes"
    arguments = ["conformance", "saboteurs:HangingWithProgram", "-o", f"file={file}", "-k", TWO]
    kit = subprocess.Popen(
        [sys.executable, "-m", "corefutures", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    try:
        eventually(file.exists)
        kit.send_signal(getattr(signal, ending))
        told, _ = kit.communicate(timeout=50)
    finally:
        kit.kill()
    assert kit.returncode == (-signal.SIGKILL if ending == "SIGKILL" else 130)
    assert "target        saboteurs:HangingWithProgram" in told, "nothing was printed until the end"
    assert ("incomplete" in told) is (ending != "SIGKILL")
    for process in map(int, file.read_text().split()):
        eventually(lambda process=process: has_ended(process))  # type: ignore[misc]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait, for 50 s at most."""
    end = time.monotonic() + 50
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def has_ended(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{process}/stat")  # where the first process collects no orphans, they remain as zombies
    try:
        return state.read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return False


def test_without_pytest_it_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('pytest', 'hypothesis') else find(name, *a)\n"
        "from corefutures.__main__ import main; sys.argv[1:] = ['conformance', 'thread']; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == 2
    assert "pip install pytest hypothesis" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_target_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from concurrent.futures import ThreadPoolExecutor as Mine\n")
    done = run("mine:Mine", "-q", "-k", TWO, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"mine:Mine: conformant as far as selected [(].*[)] – 2 passed\n", done.stdout)


def test_options_reach_the_factory() -> None:
    done = run("reference:ThreadExecutor", "-o", "initializer=42", "-k", "passes_no_arguments")
    assert done.returncode == 2
    assert "initializer must be a callable" in done.stderr


def test_strict_makes_advisories_count() -> None:
    rule = "wait_sees_a_cancellation_at_once"
    assert run("concurrent.futures:ThreadPoolExecutor", "-k", rule).returncode == 0
    done = run("concurrent.futures:ThreadPoolExecutor", "-k", rule, "--strict")
    assert done.returncode == 1


def test_declared_capabilities_are_believed() -> None:
    done = run("reference:ThreadExecutor", "-k", "calls_a_lambda", "--capabilities", "shares_memory=no")
    assert done.returncode == 0
    assert "shares_memory = no (given)" in done.stdout
    assert "1 not-applicable" in done.stdout


def test_reports_agree(tmp_path: Path) -> None:
    names = ("reference:ThreadExecutor", "mutants.cancelling:CancelOfRunningSaysTrue")
    files = {kind: tmp_path / f"report.{kind}" for kind in ("json", "html", "junit")}
    options = [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    assert run(*names, "-k", TWO, *options).returncode == 1
    data = json.loads(files["json"].read_text(encoding="utf-8"))
    assert read_reports(files["json"]) == data["targets"]
    verdicts = [target["verdict"] for target in data["targets"]]
    assert verdicts == ["conformant", "nonconformant"]
    document = ET.fromstring(files["junit"].read_text(encoding="utf-8"))
    assert [suite.get("name") for suite in document] == list(names)
    assert [suite.get("failures") for suite in document] == ["0", "1"]
    page = files["html"].read_text(encoding="utf-8")
    assert re.findall(r"<section><h2>(.*?)</h2>", page) == ["Broken rules", "submitting"]
    assert page.count("as far as selected") == 2
    parser = _Balanced()
    parser.feed(page)
    assert parser.open == []
    assert page.count("<article") == 2
    assert "cancel() did not return False for a running call" in page
    assert "src=" not in page, "the page must be self-contained"
    assert "href=" not in page


def test_json_on_standard_output() -> None:
    done = run("reference:ThreadExecutor", "-k", TWO, "--json", "-")
    data = json.loads(done.stdout)
    assert data["target"] == "reference:ThreadExecutor"
    assert [rule["outcome"] for rule in data["rules"]] == ["passed", "passed"]
    assert data["capabilities"]["same_process"] is True


class _Balanced(HTMLParser):
    """Checks that every element of a page is closed."""

    VOID = frozenset({"meta", "input", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
