"""The demonstration: compares the backends' answers with a plain loop's, and says so when they differ."""

from __future__ import annotations

import concurrent.futures
import re
import sys
import types
from pathlib import Path

import pytest

import corefutures

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def demo(monkeypatch):
    """The demonstration, on a few modules and the thread backend."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "parse_module", raising=False)
    import demo

    modules = demo.standard_library()
    assert len(modules) > 300
    assert not any("site-packages" in module for module in modules)
    monkeypatch.setattr(demo, "standard_library", lambda: modules[:5])
    monkeypatch.setattr(demo, "local_backends", lambda: (["thread"], []))
    monkeypatch.setattr(demo, "one_program", lambda names: 0)  # tests/cli/test_log_analysis.py
    monkeypatch.setattr(demo, "MOST", 20)
    yield demo
    for name in ("demo", "parse_module"):
        sys.modules.pop(name, None)


def test_same_answer(demo, capsys):
    assert demo.main() == 0
    told = capsys.readouterr().out
    assert "same answer" in told
    assert "WRONG" not in told
    assert re.search(r"5 modules, parsed whole, .* each; a plain loop: ", told)
    assert re.search(r"\d+ functions, parsed one by one, .* each; a plain loop: ", told)
    rows = [line for line in told.splitlines() if "thread pool" in line]
    assert len(rows) == 2
    for row in rows:
        assert len(re.findall(r"\d s, [\d.]+ x the loop", row)) == 2, (
            "the standard library's executor is not beside ours"
        )


def test_another_answer_of_an_executor_is_a_failure(demo, capsys):
    class Wrong(concurrent.futures.ThreadPoolExecutor):
        def map(self, function, items):
            return reversed(list(super().map(function, items)))

    assert demo.timed(Wrong, str, ["1", "2"], ["1", "2"]) is None
    demo.corefutures = types.SimpleNamespace(create_executor=lambda name, max_workers: Wrong(max_workers))
    try:
        assert demo.compared("numbers", str, ["1", "2"], ["thread"]) == 1
    finally:
        demo.corefutures = corefutures
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoil",
    [lambda results: results[:-1], lambda results: [*results[1:], results[0]]],
    ids=["one is missing", "another order"],
)
def test_another_answer_is_a_failure(demo, capsys, monkeypatch, spoil):
    honest = demo.on_backend
    monkeypatch.setattr(demo, "on_backend", lambda *given: (spoil(honest(*given)[0]), ""))
    assert demo.main() == 1
    assert "WRONG" in capsys.readouterr().out


def test_a_failing_command_is_a_failure(demo, capsys, monkeypatch):
    monkeypatch.setattr(demo, "local_backends", lambda: (["no-such-backend"], []))
    assert demo.main() == 1
    assert "WRONG" in capsys.readouterr().out


def test_no_backend_is_a_failure(demo, monkeypatch):
    monkeypatch.setattr(demo, "local_backends", lambda: ([], []))
    assert demo.main() == 1


def test_local_backends_are_found(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo

    names, _ = demo.local_backends()
    assert "thread" in names


def test_a_file_that_is_no_python_is_told(demo, tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def (", encoding="utf-8")
    assert demo.summary(str(bad)) == {"path": str(bad), "not_python": "SyntaxError"}
