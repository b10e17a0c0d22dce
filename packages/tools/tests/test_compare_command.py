"""`corefutures compare`: what goes in, what comes out and with which exit status."""

from __future__ import annotations

import json
import sys
from xml.etree import ElementTree as ET

import pytest

QUICK = ["-b", "thread", "-j", "2", "--seconds", "0.01"]


def test_shows_a_table_and_writes_files(run, folder):
    (folder / "loud.py").write_text("def upper(text):\n    print('HELLO')\n    return text.upper()\n", encoding="utf-8")
    done = run("compare", *QUICK, "loud:upper", "a", "b", "--json", "found.json", "--plot", "found.svg")
    assert "HELLO" not in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "loud:upper, 2 calls, 2 workers"
    assert "recommended: " in done.stdout
    found = json.loads((folder / "found.json").read_text(encoding="utf-8"))
    assert (found["function"], found["calls"], found["trials"][0]["agrees"]) == ("loud:upper", 2, True)
    picture = ET.parse(folder / "found.svg").getroot()
    assert picture.tag.endswith("svg")


def test_takes_items_from_standard_input_and_no_more_than_the_sample(run):
    done = run("compare", *QUICK, "--sample", "3", "--json-lines", "--json", "-", "math:sqrt", text="1\n4\n9\nnone\n")
    found = json.loads(done.stdout)
    assert (done.returncode, found["calls"], found["loop"]["failed"], found["trials"][0]["failed"]) == (0, 3, 0, 0)


def test_status_1_if_nothing_could_run_the_calls(run):
    done = run("compare", *QUICK, "jobs:die", "a")
    assert done.returncode == 1
    assert "loop: its process ended with exit status 7" in done.stdout
    assert "recommended: nothing." in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="Windows: no pseudo-terminals")
def test_rich_draws_the_table_on_a_terminal(monkeypatch, capsys):
    pytest.importorskip("rich", reason="rich is the extra [progress]")
    from corefutures_tools import Comparison, Trial
    from corefutures_tools._commands import compare as command

    found = Comparison(
        "jobs:[x]", 1, 1, 0.5, 3.0, {}, Trial("loop", seconds=1.0), (Trial("thread"),), "loop", "Why [so]."
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    command._show(found)
    drawn = capsys.readouterr().out
    assert "speed-up" in drawn
    assert "recommended: a plain loop. Why [so]." in drawn
    assert not drawn.startswith("jobs:[x], 1 call, 1 worker\n\nbackend")


BAD_INPUT = {
    "no function": (["compare"], "MODULE:FUNC"),
    "no such function": (["compare", "jobs:uper", "a"], "did you mean 'upper'"),
    "no items": (["compare", *QUICK, "jobs:upper"], "no items"),
    "no JSON": (["compare", *QUICK, "--json-lines", "jobs:upper", "one"], "item 1 ('one') is not JSON"),
    "no workers": (["compare", "-b", "thread", "-j", "0", "jobs:upper", "a"], "max_workers must be greater than 0"),
    "no sample": (["compare", "--sample", "0", "jobs:upper", "a"], "--sample must be positive"),
    "no time": (["compare", "--timeout", "0", "jobs:upper", "a"], "greater than 0, not '0'"),
    "unknown flag": (["compare", "--fast", "jobs:upper", "a"], "--fast"),
    "no place": (["compare", *QUICK, "--plot", "no/such/folder.svg", "jobs:upper", "a"], "cannot write no/such"),
}


@pytest.mark.parametrize(("arguments", "phrase"), BAD_INPUT.values(), ids=BAD_INPUT)
def test_bad_input_is_one_sentence_and_status_2(run, arguments, phrase):
    done = run(*arguments)
    assert done.returncode == 2
    assert phrase in done.stderr
    assert done.stderr.startswith("corefutures compare: ")
    assert len(done.stderr.splitlines()) == 1
