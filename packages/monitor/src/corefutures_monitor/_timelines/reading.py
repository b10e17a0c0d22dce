"""Reads what `trace` has written, and puts it into columns: a `Timeline`.

Touches `recording` for a name only. Guarantees: a file that was cut off is read up to there; what is no trace ends
with a ValueError that says why.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from corefutures.backend import describe_error
from corefutures_monitor._timelines.recording import BEGAN

#: How a call may have ended, for `Timeline.outcome`.
OUTCOMES: Final = ("returned", "raised", "lost", "cancelled", "unfinished")


@dataclass
class Timeline:
    """The calls of a trace in columns, all of one length, in the order in which they were recorded.

    Attributes:
        began: Seconds since 1970; None if the file doesn't say.
        pools: The names of the executors.
        rows: For each worker the index of its pool, and its name. A row without a worker has an empty name.
        names: The names that calls have.
        row: Indices into `rows`; -1 for calls that were not run.
        name: Indices into `names`.
        start: Microseconds from the beginning of the trace.
        length: Microseconds that it ran or, where its worker is not known, was under way; 0 if it was not run.
        waited: Microseconds from its submission until it started or was cancelled; None if that is not known.
        outcome: Indices into `OUTCOMES`.
        number: What the calls are called by.
        size: Bytes of the serialised arguments, None if there is no such thing.
        result_size: The same of the result.
        error: The type of the exception, "" if there was none.
        marks: What happened to workers: the row, the time, the text.
    """

    began: float | None = None
    pools: list[str] = field(default_factory=list)
    rows: list[tuple[int, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    name: list[int] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    length: list[float] = field(default_factory=list)
    waited: list[float | None] = field(default_factory=list)
    outcome: list[int] = field(default_factory=list)
    number: list[int] = field(default_factory=list)
    size: list[int | None] = field(default_factory=list)
    result_size: list[int | None] = field(default_factory=list)
    error: list[str] = field(default_factory=list)
    marks: list[tuple[int, float, str]] = field(default_factory=list)


def read_trace(path: str | os.PathLike[str]) -> Timeline:
    """Read a trace.

    Raises:
        OSError: The file can't be read.
        ValueError: It is no trace of `corefutures.trace`.
    """
    text = Path(path).read_text(encoding="utf-8")
    reader = _Reader()
    try:
        for event in _events(text):
            reader.take(event)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no trace of corefutures: {describe_error(error)}") from error
    if not reader.genuine:
        raise ValueError("it is no trace of corefutures: nothing in it says when it began")
    return reader.timeline


def _events(text: str) -> list[dict[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError as error:
        if not text.startswith("[\n"):
            raise ValueError(f"it is no trace of corefutures: {error}") from error
        events = []
        for line in text.splitlines()[1:]:  # one event a line, the last of them perhaps not whole
            try:
                events.append(json.loads(line.strip(",")))
            except ValueError:
                break
        return events
    found: Any = whole.get("traceEvents") if isinstance(whole, dict) else whole
    if not isinstance(found, list) or not all(isinstance(event, dict) for event in found):
        raise ValueError("it is no trace of corefutures: it has no list of events")
    return found


class _Reader:
    """Builds a timeline from events."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.genuine = False
        self._pools: dict[int, int] = {}
        self._rows: dict[tuple[int, int], int] = {}
        self._names: dict[str, int] = {}
        self._begun: dict[tuple[int, int], dict[str, Any]] = {}
        self._lanes: dict[int, list[tuple[int, float]]] = {}  # pool → rows without a worker, and when each is free

    def take(self, event: dict[str, Any]) -> None:
        """Read one event; ignore those of other kinds."""
        phase, pool = event["ph"], event.get("pid", 0)
        timeline = self.timeline
        if phase == "M":
            details = event["args"]
            if event["name"] == BEGAN:
                self.genuine = True
                timeline.began = details.get("unix_time")
            elif event["name"] == "process_name":
                self._pools[pool] = len(timeline.pools)
                timeline.pools.append(details["name"])
            elif event["name"] == "thread_name":
                self._rows[pool, event["tid"]] = len(timeline.rows)
                timeline.rows.append((self._pools[pool], details["name"]))
        elif phase == "X":
            self._add(event, event["args"], self._rows[pool, event["tid"]], event["ts"], event["dur"])
        elif phase == "b":
            self._begun[pool, event["id"]] = event
        elif phase == "e":
            begun = self._begun.pop((pool, event["id"]))
            details, start, end = begun["args"], begun["ts"], event["ts"]
            if details["waited"] is not None:  # nobody ran it
                self._add(begun, details, -1, end, 0.0)
            else:
                self._add(begun, details, self._lane(self._pools[pool], start, end), start, end - start)
        elif phase == "i":
            timeline.marks.append((self._rows[pool, event["tid"]], event["ts"], event["name"]))

    def _add(self, event: dict[str, Any], details: dict[str, Any], row: int, start: float, length: float) -> None:
        timeline = self.timeline
        name = event["name"]
        index = self._names.setdefault(name, len(self._names))
        if index == len(timeline.names):
            timeline.names.append(name)
        timeline.name.append(index)
        timeline.row.append(row)
        timeline.start.append(start)
        timeline.length.append(length)
        timeline.waited.append(details["waited"])
        timeline.outcome.append(OUTCOMES.index(details["outcome"]) if details["outcome"] in OUTCOMES else 0)
        timeline.number.append(details["call"])
        timeline.size.append(details.get("size"))
        timeline.result_size.append(details.get("result_size"))
        timeline.error.append(details.get("error", ""))

    def _lane(self, pool: int, start: float, end: float) -> int:
        """Return a row for a call whose worker is not known, one in which nothing else is drawn at that time."""
        lanes = self._lanes.setdefault(pool, [])
        for position, (row, free) in enumerate(lanes):
            if free <= start:
                lanes[position] = (row, end)
                return row
        if len(lanes) >= 64:  # more rows can't be distinguished: drawn over each other
            row, _ = lanes[0]
            lanes.append(lanes.pop(0))
            return row
        row = len(self.timeline.rows)
        self.timeline.rows.append((pool, ""))
        lanes.append((row, end))
        return row
