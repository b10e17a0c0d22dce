"""The thread that draws, one for each file; it ends with the last progress that is shown there.

Touches `renderers`. Guarantees: the program that is watched never waits for a picture but its last one, and never fails
because of one.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from corefutures.backend import start_thread
from corefutures_monitor._progress.renderers import renderer_for

if TYPE_CHECKING:
    from corefutures_monitor._progress.counts import ProgressCounts
    from corefutures_monitor._progress.renderers import Renderer

LOGGER = logging.getLogger("concurrent.futures")


class LiveDisplay:
    """All that is drawn in one file, and the thread that draws it."""

    # Guards `_displays` and `_shown` of each. Nothing is drawn and no foreign code runs under it. Reentrant: a
    # finaliser of `Tracked` may interrupt its holder.
    _lock = threading.RLock()
    _displays: dict[int, LiveDisplay] = {}  # noqa: RUF012 - by the id of the file, which the display keeps

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._shown: list[ProgressCounts] = []
        self._removed: list[ProgressCounts] = []
        self._wakeup = threading.Event()
        self._thread = threading.Thread(target=self._run, name="corefutures-progress", daemon=True)

    @classmethod
    def add(cls, file: TextIO | None, counts: ProgressCounts) -> LiveDisplay | None:
        """Have something drawn; return its display, or None if there is nothing to draw on."""
        stream = file if file is not None else sys.stderr
        if stream is None:
            return None
        with cls._lock:
            display = cls._displays.get(id(stream))
            if fresh := display is None:
                display = cls._displays[id(stream)] = cls(stream)
            assert display is not None
            display._shown.append(counts)
        if fresh:
            try:
                start_thread(display._thread)
            except RuntimeError:  # no thread can be started: there is no picture
                with cls._lock:
                    cls._displays.pop(id(stream), None)
                LOGGER.warning("progress can't be shown", exc_info=True)
                return None
        return display

    def remove(self, counts: ProgressCounts) -> None:
        """Draw something for the last time; return when that is done if nothing else is shown."""
        counts.closed = True
        with self._lock:
            if counts not in self._shown:  # in a forked child, where nothing is drawn
                return
            self._shown.remove(counts)
            self._removed.append(counts)
            if last := not self._shown:
                self._displays.pop(id(self._file), None)
        self._wakeup.set()
        if last and self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        renderer: Renderer | None = None
        try:
            renderer = renderer_for(self._file)
            while True:
                self._wakeup.wait(renderer.pause)
                self._wakeup.clear()
                with self._lock:
                    shown, removed, self._removed = self._shown[:], self._removed, []
                for counts in removed:
                    renderer.finish(counts)
                if not shown:
                    with self._lock:
                        if not self._removed:
                            return
                    self._wakeup.set()
                    continue
                renderer.draw(shown)
        except Exception:  # the terminal went away, the file is full: nothing that the program has to know
            LOGGER.debug("progress is not shown any more", exc_info=True)
        finally:
            with self._lock:  # if it has failed, what is shown next has another thread
                if self._displays.get(id(self._file)) is self:
                    del self._displays[id(self._file)]
            if renderer is not None:
                try:
                    renderer.close()
                except Exception:
                    LOGGER.debug("progress could not be ended", exc_info=True)


def _after_fork_in_child() -> None:
    for display in list(LiveDisplay._displays.values()):
        display._shown.clear()
    LiveDisplay._displays.clear()
    LiveDisplay._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
