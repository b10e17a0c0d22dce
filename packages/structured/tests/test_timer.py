"""The timer of pauses and deadlines: an alarm that could not be set is not called later."""

from __future__ import annotations

import threading

import pytest

from corefutures_structured._timer import Timer


def test_an_alarm_that_was_refused_for_want_of_a_thread_is_not_called_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller of a retried call had gone on without a pause; a later alarm's thread ran the call once more."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    timer, called, over = Timer(), [], threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            timer.call_at(0.0, lambda: called.append("refused"))
    timer.call_at(0.0, over.set)
    assert over.wait(30)
    assert called == []
