"""The backend authors' door: names only, each imported when it is first asked for.

A plugin module takes `Backend`, `Capabilities` and `hookimpl` from here, an executor its base classes; a backend
whose workers are isolated also what all such backends share. Workers pass through this file: it imports nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from corefutures._audience import (
        audience as audience,
        enroll as enroll,
        name_of as name_of,
        origin_of as origin_of,
    )
    from corefutures._context import (
        CarryingEncoder as CarryingEncoder,
        Variables as Variables,
        check_carried as check_carried,
        check_context as check_context,
    )
    from corefutures._control import (
        AtExit as AtExit,
        ContextOption as ContextOption,
        Place as Place,
        Room as Room,
        Stats as Stats,
        WhenFull as WhenFull,
        make_room as make_room,
        total as total,
    )
    from corefutures._descriptors import (
        Descriptor as Descriptor,
        lifted as lifted,
        standard_taken as standard_taken,
        take_standard_for_good as take_standard_for_good,
    )
    from corefutures._exceptions import add_note as add_note, drop_frame as drop_frame, set_cause as set_cause
    from corefutures._executor import (
        Executor as Executor,
        unreachable as unreachable,
        unsupported as unsupported,
    )
    from corefutures._forking import check_fork as check_fork
    from corefutures._future import (
        FINISHED as FINISHED,
        LOGGER as LOGGER,
        PENDING as PENDING,
        RUNNING as RUNNING,
        Future as Future,
        PoolFuture as PoolFuture,
    )
    from corefutures._hosting import (
        Host as Host,
        call_names as call_names,
        hosts as hosts,
        runners as runners,
        servers as servers,
    )
    from corefutures._isolated.chunks import Pace as Pace, chunked_map as chunked_map
    from corefutures._isolated.crew import Recruiter as Recruiter, Route as Route, Worker as Worker
    from corefutures._isolated.executor import (
        IsolatedExecutor as IsolatedExecutor,
        check_serializer as check_serializer,
    )
    from corefutures._isolated.frames import (
        ERROR as ERROR,
        FAILED as FAILED,
        FRAME as FRAME,
        STOP as STOP,
        UNFIT as UNFIT,
    )
    from corefutures._isolated.future import check_call as check_call
    from corefutures._isolated.logs import (
        LogCollector as LogCollector,
        LogLine as LogLine,
        current_levels as current_levels,
    )
    from corefutures._isolated.logwork import forward_logs as forward_logs
    from corefutures._isolated.pairs import PairPool as PairPool
    from corefutures._isolated.pairwork import (
        ConnectionLost as ConnectionLost,
        send_frame as send_frame,
        serve_pair as serve_pair,
    )
    from corefutures._isolated.payload import (
        INLINE_LIMIT as INLINE_LIMIT,
        Encoder as Encoder,
        Segment as Segment,
        unpickle as unpickle,
    )
    from corefutures._isolated.plain import plain_call as plain_call
    from corefutures._isolated.pool import (
        BREAK as BREAK,
        NEEDS_ANOTHER_START as NEEDS_ANOTHER_START,
        REPLACE as REPLACE,
        Pool as Pool,
    )
    from corefutures._isolated.ways import (
        connection_pair as connection_pair,
        has_fast_path as has_fast_path,
        start_native_thread as start_native_thread,
        threads_are_replaced as threads_are_replaced,
        wait_natively as wait_natively,
        worker_end as worker_end,
    )
    from corefutures._isolated.worker import (
        Reporter as Reporter,
        TicketEnds as TicketEnds,
        describe as describe,
        interrupts as interrupts,
        serve_tickets as serve_tickets,
    )
    from corefutures._living import Living as Living
    from corefutures._locking import Lock as Lock
    from corefutures._loops import (
        class_name as class_name,
        comes_again as comes_again,
        copied as copied,
        for_each as for_each,
        log_failure as log_failure,
    )
    from corefutures._options import (
        check_choice as check_choice,
        check_count as check_count,
        check_flag as check_flag,
        check_seconds as check_seconds,
        check_start as check_start,
        check_text as check_text,
        not_callable as not_callable,
        shown as shown,
    )
    from corefutures._originals import clock as clock, system as system
    from corefutures._processors import (
        default_threads as default_threads,
        process_seconds as process_seconds,
        thread_seconds as thread_seconds,
        usable_processors as usable_processors,
    )
    from corefutures._replaced_submit import Seen as Seen, StandardSubmit as StandardSubmit, StandIn as StandIn
    from corefutures._results import ResultIterator as ResultIterator
    from corefutures._snapshots import (
        CallSnapshot as CallSnapshot,
        Snapshot as Snapshot,
        WorkerSnapshot as WorkerSnapshot,
        first_names as first_names,
        since_when as since_when,
    )
    from corefutures._spinning import spin_until as spin_until
    from corefutures._stacks import (
        Frame as Frame,
        collect_stack as collect_stack,
        discard_stacks as discard_stacks,
        from_call_on as from_call_on,
        own_stacks as own_stacks,
        read_frames as read_frames,
        write_frames as write_frames,
    )
    from corefutures._threads import start_thread as start_thread
    from corefutures.backend._description import (
        CONTRACT as CONTRACT,
        Backend as Backend,
        Capabilities as Capabilities,
    )
    from corefutures.backend._hook import hookimpl as hookimpl

    if sys.platform == "linux":
        from corefutures._isolated.courier import (
            DescriptorCourier as DescriptorCourier,
            DescriptorRoute as DescriptorRoute,
        )
        from corefutures._isolated.tickets import TicketPool as TicketPool

_HOMES = {
    # every backend
    "AtExit": "corefutures._control",
    "Backend": "corefutures.backend._description",
    "CallSnapshot": "corefutures._snapshots",
    "CONTRACT": "corefutures.backend._description",
    "Capabilities": "corefutures.backend._description",
    "ContextOption": "corefutures._control",
    "Executor": "corefutures._executor",
    "audience": "corefutures._audience",
    "FINISHED": "corefutures._future",
    "Frame": "corefutures._stacks",
    "Future": "corefutures._future",
    "Host": "corefutures._hosting",
    "Living": "corefutures._living",
    "LOGGER": "corefutures._future",
    "Lock": "corefutures._locking",
    "PENDING": "corefutures._future",
    "Place": "corefutures._control",
    "PoolFuture": "corefutures._future",
    "RUNNING": "corefutures._future",
    "Seen": "corefutures._replaced_submit",
    "Snapshot": "corefutures._snapshots",
    "StandIn": "corefutures._replaced_submit",
    "StandardSubmit": "corefutures._replaced_submit",
    "WorkerSnapshot": "corefutures._snapshots",
    "enroll": "corefutures._audience",
    "first_names": "corefutures._snapshots",
    "for_each": "corefutures._loops",
    "from_call_on": "corefutures._stacks",
    "name_of": "corefutures._audience",
    "origin_of": "corefutures._audience",
    "own_stacks": "corefutures._stacks",
    "read_frames": "corefutures._stacks",
    "since_when": "corefutures._snapshots",
    "ResultIterator": "corefutures._results",
    "Room": "corefutures._control",
    "Stats": "corefutures._control",
    "WhenFull": "corefutures._control",
    "call_names": "corefutures._hosting",
    "collect_stack": "corefutures._stacks",
    "discard_stacks": "corefutures._stacks",
    "write_frames": "corefutures._stacks",
    "check_choice": "corefutures._options",
    "check_count": "corefutures._options",
    "check_flag": "corefutures._options",
    "check_seconds": "corefutures._options",
    "check_start": "corefutures._options",
    "check_text": "corefutures._options",
    "not_callable": "corefutures._options",
    "shown": "corefutures._options",
    "clock": "corefutures._originals",
    "copied": "corefutures._loops",
    "default_threads": "corefutures._processors",
    "check_context": "corefutures._context",
    "hookimpl": "corefutures.backend._hook",
    "hosts": "corefutures._hosting",
    "log_failure": "corefutures._loops",
    "make_room": "corefutures._control",
    "process_seconds": "corefutures._processors",
    "runners": "corefutures._hosting",
    "servers": "corefutures._hosting",
    "thread_seconds": "corefutures._processors",
    "total": "corefutures._control",
    "set_cause": "corefutures._exceptions",
    "add_note": "corefutures._exceptions",
    "drop_frame": "corefutures._exceptions",
    "system": "corefutures._originals",
    "spin_until": "corefutures._spinning",
    "start_thread": "corefutures._threads",
    "unreachable": "corefutures._executor",
    "unsupported": "corefutures._executor",
    "usable_processors": "corefutures._processors",
    "Variables": "corefutures._context",
    # isolated workers, the caller's side
    "BREAK": "corefutures._isolated.pool",
    "CarryingEncoder": "corefutures._context",
    "ConnectionLost": "corefutures._isolated.pairwork",
    "Pool": "corefutures._isolated.pool",
    "REPLACE": "corefutures._isolated.pool",
    "Pace": "corefutures._isolated.chunks",
    "IsolatedExecutor": "corefutures._isolated.executor",
    "LogCollector": "corefutures._isolated.logs",
    "NEEDS_ANOTHER_START": "corefutures._isolated.pool",
    "LogLine": "corefutures._isolated.logs",
    "PairPool": "corefutures._isolated.pairs",
    "Recruiter": "corefutures._isolated.crew",
    "Route": "corefutures._isolated.crew",
    "Worker": "corefutures._isolated.crew",
    "current_levels": "corefutures._isolated.logs",
    "check_call": "corefutures._isolated.future",
    "check_fork": "corefutures._forking",
    "check_carried": "corefutures._context",
    "check_serializer": "corefutures._isolated.executor",
    "chunked_map": "corefutures._isolated.chunks",
    "connection_pair": "corefutures._isolated.ways",
    "has_fast_path": "corefutures._isolated.ways",
    "start_native_thread": "corefutures._isolated.ways",
    "threads_are_replaced": "corefutures._isolated.ways",
    "wait_natively": "corefutures._isolated.ways",
    # isolated workers, both sides
    "ERROR": "corefutures._isolated.frames",
    "Encoder": "corefutures._isolated.payload",
    "FAILED": "corefutures._isolated.frames",
    "FRAME": "corefutures._isolated.frames",
    "INLINE_LIMIT": "corefutures._isolated.payload",
    "STOP": "corefutures._isolated.frames",
    "Segment": "corefutures._isolated.payload",
    "TicketEnds": "corefutures._isolated.worker",
    "UNFIT": "corefutures._isolated.frames",
    "forward_logs": "corefutures._isolated.logwork",
    "Descriptor": "corefutures._descriptors",
    "lifted": "corefutures._descriptors",
    "plain_call": "corefutures._isolated.plain",
    "standard_taken": "corefutures._descriptors",
    "unpickle": "corefutures._isolated.payload",
    # isolated workers, their own side
    "Reporter": "corefutures._isolated.worker",
    "class_name": "corefutures._loops",
    "comes_again": "corefutures._loops",
    "describe": "corefutures._isolated.worker",
    "send_frame": "corefutures._isolated.pairwork",
    "serve_pair": "corefutures._isolated.pairwork",
    "interrupts": "corefutures._isolated.worker",
    "serve_tickets": "corefutures._isolated.worker",
    "take_standard_for_good": "corefutures._descriptors",
    "worker_end": "corefutures._isolated.ways",
}
if sys.platform == "linux":  # the fast path
    _HOMES["DescriptorCourier"] = _HOMES["DescriptorRoute"] = "corefutures._isolated.courier"
    _HOMES["TicketPool"] = "corefutures._isolated.tickets"

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the table says it once


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Not by `importlib`: a worker interpreter would have to import that first.
        value: object = getattr(__import__(_HOMES[name], fromlist=(name,)), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
