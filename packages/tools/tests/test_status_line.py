"""The status line: on a terminal only, drawn over itself, gone where somebody else writes."""

from __future__ import annotations

import io
import re

import pytest

from corefutures._blocking import clock as original
from corefutures_tools._commands import status_line
from corefutures_tools._commands.status_line import StatusLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        """What stands in the last line, as a terminal would show it."""
        line = ""
        for part in self.getvalue().split("\r"):
            line = part + line[len(part) :]
        return line.rstrip()


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr(status_line.time, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(original, "monotonic", lambda: Clock.now)
    monkeypatch.setattr(status_line, "has_bars", lambda: False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return Clock


def test_tells_how_far_it_is(clock):
    terminal = Terminal()
    line = StatusLine(terminal, 40)
    clock.now += 2
    line.draw(10, 0)
    assert terminal.shown() == "10 of 40 done, 5.0/s"
    clock.now += 2
    line.draw(20, 3)
    assert terminal.shown() == "20 of 40 done, 3 failed, 5.0/s"


@pytest.mark.skipif(not status_line.has_bars(), reason="rich or corefutures-monitor is not installed here")
def test_rich_draws_a_bar_and_the_time_that_is_left(clock, monkeypatch):
    monkeypatch.setattr(status_line, "has_bars", lambda: True)
    terminal = Terminal()
    line = StatusLine(terminal, 40)
    clock.now += 2
    line.draw(10, 3)
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert re.fullmatch(r"\r\S+ 10 of 40 done, 3 failed 5/s, 6.0 s left\x1b\[K", drawn)
    line.erase()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_of_an_unknown_number(clock):
    terminal = Terminal()
    line = StatusLine(terminal, None)
    clock.now += 1
    line.draw(10, 0)
    assert terminal.shown() == "10 done, 10.0/s"


def test_is_erased_and_leaves_nothing(clock):
    terminal = Terminal()
    line = StatusLine(terminal, 40)
    clock.now += 1
    line.draw(10, 0)
    line.erase()
    assert terminal.shown() == ""
    before = terminal.getvalue()
    line.erase()
    assert terminal.getvalue() == before


def test_is_not_drawn_too_often(clock):
    terminal = Terminal()
    line = StatusLine(terminal, 40)
    clock.now += 1
    line.draw(1, 0)
    before = terminal.getvalue()
    line.draw(2, 0)
    assert terminal.getvalue() == before


def test_fits_a_narrow_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    terminal = Terminal()
    line = StatusLine(terminal, 1000)
    clock.now += 1
    line.draw(999, 99)
    assert terminal.shown() == "999 of 1000"


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_nothing_without_a_terminal(clock, stream):
    line = StatusLine(stream, 40)
    clock.now += 1
    line.draw(1, 0)
    line.erase()
    assert stream is None or stream.getvalue() == ""


def test_nothing_on_a_dumb_terminal(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    line = StatusLine(terminal, 40)
    clock.now += 1
    line.draw(1, 0)
    assert terminal.getvalue() == ""


def test_a_terminal_that_goes_away_is_no_error(clock):
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError("hung up")

    line = StatusLine(Gone(), 40)
    clock.now += 1
    line.draw(1, 0)
    line.erase()
