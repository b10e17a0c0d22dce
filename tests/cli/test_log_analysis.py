"""The example that is one program for every backend: the same answer everywhere, and it says so when it is not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import corefutures

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ["--files", "3", "--lines", "40", "--seed", "test"]


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import log_analysis

    yield log_analysis
    sys.modules.pop("log_analysis", None)


def run(*arguments: str, backend: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "log_analysis.py"), *SMALL, *arguments],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COREFUTURES_BACKEND": backend},
        capture_output=True, encoding="utf-8", timeout=100, check=False,
    )  # fmt: skip


def available(name: str) -> None:
    try:
        corefutures.get_backend(name)
    except corefutures.BackendError as error:
        pytest.skip(f"needs the capability to run the backend: {error}")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("backend", ["thread", "process", "interpreter", "dask"])
def test_each_backend_gives_the_answer_of_a_plain_loop(backend, example, tmp_path):
    available(backend)
    done = run("--check", backend=backend)
    assert done.returncode == 0, done.stderr
    *answer, seconds, comparison = done.stdout.splitlines()
    pool = {"dask": "DaskExecutor"}.get(backend, f"{backend.title()}PoolExecutor")
    assert f"3 logs on a {pool}:" in seconds
    assert comparison.endswith("the same answer")
    logs = [tmp_path / f"{number:04}.log" for number in range(3)]
    for log in logs:
        example.write_log(log, 40, f"test {log.name}")
    assert answer == example.report(example.total(example.analyse(str(log)) for log in logs))


def test_a_seed_always_gives_the_same_lines(example, tmp_path):
    for name in ("a", "b"):
        example.write_log(tmp_path / name, 500, "one")
    example.write_log(tmp_path / "c", 500, "two")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


def test_the_answer_is_what_the_lines_say(example, tmp_path):
    log = tmp_path / "log"
    log.write_text(
        '10.0.0.1 - u1 [01/Jun/2026:07:00:00] "GET /items/12?v=1 HTTP" 200 5 9ms\n'
        '10.0.0.1 - u1 [01/Jun/2026:07:00:00] "GET /items/12?v=1" 200 1000 9ms\n'
        '10.0.0.2 - u1 [01/Jun/2026:08:00:00] "GET /items/7?v=1" 503 500 99999999ms\n'
        '10.0.0.1 - u1 [01/Jun/2026:07:59:59] "POST /login" 302 0 0ms\n',
        encoding="utf-8",
    )
    tally = example.analyse(str(log))
    assert tally == Counter({
        ("damaged", ""): 1,
        ("requests", "/items/N"): 2, ("bytes", "/items/N"): 1500, ("errors", "/items/N"): 1,
        ("at most 16 ms", "/items/N"): 1, ("at most 16384 ms", "/items/N"): 1,
        ("requests", "/login"): 1, ("at most 1 ms", "/login"): 1,
        ("hour", "07"): 2, ("hour", "08"): 1, ("client", "10.0.0.1"): 2, ("client", "10.0.0.2"): 1,
    })  # fmt: skip
    assert example.served_within(tally, "/items/N", 0.5) == 16
    assert example.served_within(tally, "/items/N", 0.99) == 16384
    assert example.report(example.total([tally, tally]))[1].split() == [
        "/items/N", "4", "2", "16", "ms", "16384", "ms", "0.0",
    ]  # fmt: skip


def test_logs_with_nothing_but_damage_have_an_answer(example):
    assert example.report(example.total([Counter({("damaged", ""): 2})]))[-1] == "damaged lines: 2"


def test_another_answer_is_a_failure(example, monkeypatch, capsys):
    honest = example.analyse_all
    monkeypatch.setattr(example, "analyse_all", lambda *given: honest(*given) + Counter({("hour", "07"): 1}))
    assert example.main([*SMALL, "--check"]) == 1
    assert "ANOTHER ANSWER" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "backend", "phrase"),
    [([], "nix", "backend 'nix' not found"), ([], "nix", "COREFUTURES_BACKEND"), (["--files", "0"], "", "positive")],
)
def test_what_cannot_be_done_is_said(arguments, backend, phrase):
    done = run(*arguments, backend=backend)
    assert (done.returncode, done.stdout) == (2, "")
    assert phrase in done.stderr
    assert "Traceback" not in done.stderr


def test_the_demonstration_counts_what_went_wrong(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    def answering(status: int, *lines: str) -> object:
        return lambda command, **settings: subprocess.CompletedProcess(command, status, "\n".join(lines), "")

    right = answering(0, "an answer", "1 s", "the same answer")
    monkeypatch.setattr(demo.subprocess, "run", right)
    assert demo.one_program(["thread", "process"]) == 0
    assert capsys.readouterr().out.count("the same answer") == 2
    for wrong in (answering(1, "an answer", "1 s", "ANOTHER"), answering(0, "another", "1 s", "same"), answering(2)):
        answers = iter([right, wrong])
        monkeypatch.setattr(
            demo.subprocess, "run", lambda *given, answers=answers, **more: next(answers)(*given, **more)
        )
        assert demo.one_program(["thread", "process"]) == 1
        assert "WRONG" in capsys.readouterr().out
