"""What helps an author: `--explain`, `--fast`, `--bisect`."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import Executor
from pathlib import Path

import pytest
from mistakes import FILE, collected
from reference import ThreadExecutor

from corefutures_conformance.bisection import bisect
from corefutures_conformance.executor_tests import RULES, ExecutorTests
from corefutures_conformance.explaining import explanation, links
from corefutures_conformance.fast import FAST
from corefutures_conformance.target import Target

BY_ID = {rule.id: rule for rule in RULES.values()}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "corefutures", "conformance", *arguments],
        capture_output=True, text=True, encoding="utf-8", timeout=55, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("chapter", sorted({rule.chapter for rule in RULES.values()}))
def test_every_rule_of_a_chapter_is_explained(chapter: str) -> None:
    for rule in RULES.values():
        if rule.chapter == chapter:
            text = explanation(rule, getattr(ExecutorTests, rule.method))
            assert f"def {rule.method}(" in text
            assert f"-k {rule.id}\n" in text
            assert "https://" in text
            assert f"{rule.id} ({rule.written_level})" in text
            assert "\nmistake " in text or "\nbroken by " in text, f"nothing says how {rule.id} is broken"


def test_the_mistakes_are_those_of_the_mutants_and_of_the_survey() -> None:
    assert FILE.read_text(encoding="utf-8").count('"does"') > 400
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("mistakes.py")), "--check"],
        capture_output=True, text=True, timeout=55, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("manual: Executor.map", "library/concurrent.futures.html#concurrent.futures.Executor.map"),
        ("manual: as_completed", "#concurrent.futures.as_completed"),
        ("manual: BrokenProcessPool", "#concurrent.futures.process.BrokenProcessPool"),
        ("PEP 3148", "pep-3148"),
        ("promise E3", "promises.md#e3"),
    ],
)
def test_links(source: str, link: str) -> None:
    (found,) = links(source)
    assert found.endswith(link) or found.rstrip("/").endswith(link)


def test_the_command_explains() -> None:
    done = run("acme:Executor", "--explain", "cancelling.cancel_wakes_wait_at_once")
    assert done.returncode == 0
    assert "corefutures conformance acme:Executor -k cancelling.cancel_wakes_wait_at_once" in done.stdout
    assert "mistake" in done.stdout
    assert "broken by concurrent.futures.ThreadPoolExecutor (CPython 3." in done.stdout
    unknown = run("--explain", "cancelling.cancel_wakes_wait_at_onc")
    assert unknown.returncode == 2
    assert unknown.stderr.strip().endswith(
        "there is no rule 'cancelling.cancel_wakes_wait_at_onc'; is it cancelling.cancel_wakes_wait_at_once?"
    )


def test_the_fast_rules_are_a_tenth_of_each_chapter() -> None:
    assert len(set(FAST)) == len(FAST)
    assert set(FAST) <= set(BY_ID)
    assert 0.08 <= len(FAST) / len(BY_ID) <= 0.12
    chosen = Counter(name.partition(".")[0] for name in FAST)
    assert set(chosen) == {rule.chapter for rule in RULES.values()}, "a chapter has no rule in FAST"


def test_the_fast_rules_find_a_quarter_of_the_mistakes() -> None:
    collected()  # this imports all mutants
    from mutants import MUTANTS

    found = [mutant for mutant in MUTANTS.values() if mutant.broken & set(FAST)]
    assert len(found) >= len(MUTANTS) / 4


def test_the_verdict_of_fast_is_on_a_selection() -> None:
    done = run("reference:ThreadExecutor", "--fast", "-k", "submitting", "-q")
    assert done.returncode == 0, done.stderr
    chosen = sum(name.startswith("submitting") for name in FAST)
    assert f"conformant as far as selected (--fast -k submitting, {chosen} of {len(RULES)} rules)" in done.stdout


class Particular(ThreadExecutor):
    """Refuses a keyword called `fn` when it is strict and careful; what else it is told makes no difference."""

    def __init__(self, max_workers: int, *, strict: bool = False, careful: bool = False, colour: str = "") -> None:
        super().__init__(max_workers)
        self._refuses = strict and careful

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        if self._refuses and "fn" in kwargs:
            raise TypeError("no fn here")
        return super().submit(fn, *args, **kwargs)


def make_particular(max_workers: int, **options: object) -> Executor:
    return Particular(max_workers, **options)  # type: ignore[arg-type]


def test_bisecting_finds_the_options_that_are_needed() -> None:
    target = Target("test_explaining:make_particular", {"colour": "red", "strict": True, "careful": True})
    rule = BY_ID["submitting.passes_a_keyword_called_fn"]
    lines = list(bisect(target, rule, given={}, deadline=20))
    assert lines == [
        "with all options: failed: TypeError: no fn here",
        "without colour: failed: TypeError: no fn here",
        "without strict: passed",
        "without careful: passed",
        "the rule is broken only with strict=True and careful=True",
    ]


def test_bisecting_tells_of_a_capability_that_is_declared_wrongly() -> None:
    rule = BY_ID["submitting.serialises_arguments_at_submit"]
    lines = list(bisect(Target("reference:ThreadExecutor"), rule, given={"pickles": True}, deadline=20))
    assert lines[0].startswith("with all options: failed: ")
    assert lines[1] == "the rule is broken without any option"
    assert lines[2].startswith("pickles is declared yes and probed no; taken as no: not-applicable")


def test_bisecting_what_is_kept() -> None:
    done = run("reference:ThreadExecutor", "--bisect", "submitting.passes_no_arguments")
    assert done.stdout == ("reference:ThreadExecutor: submitting.passes_no_arguments\n  with all options: passed\n")
    assert done.returncode == 0
