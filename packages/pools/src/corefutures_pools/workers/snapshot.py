"""Snapshots of pools with isolated workers: the calls' names, the workers that run them, and their stacks.

Touches `inspection` and the pool's tables. Guarantees: takes no lock of the pool, and asks all workers for their
stacks before it waits for any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from corefutures._blocking import clock
from corefutures_pools.inspection.snapshots import CallSnapshot, Snapshot, WorkerSnapshot, first_names, since_when
from corefutures_pools.inspection.stacks import from_call_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.interface import WorkerHandle

#: The functions that call what users submit.
_ENTRANCES: Final = (("worker_loop.py", "serve"),)
_UNKNOWN: Final = "a call"


class Occupation(NamedTuple):
    """What is known of a worker without asking it."""

    worker: WorkerHandle
    ready: bool  # the worker has finished starting
    call: CallFuture[Any] | None
    since: float | None  # when that call began, by `time.monotonic`
    spare: bool = False  # the worker takes no calls yet


class _InspectedPool(Protocol):
    """What this file needs of a pool; `PoolTransport` says what the methods do."""

    size: int
    closing: bool
    broken_reason: str | None

    @property
    def calls(self) -> Mapping[int, CallFuture[Any]]: ...
    def occupations(self) -> Iterable[Occupation]: ...
    def body_of(self, future: CallFuture[Any]) -> Any: ...


def snapshot(pool: _InspectedPool, name: str, timeout: float) -> Snapshot:
    """Return what a pool is busy with; see `PoolExecutor.snapshot`."""
    deadline = clock.monotonic() + timeout
    occupations = list(pool.occupations())
    for occupation in occupations:
        occupation.worker.ask_for_stack()
    workers = tuple(_worker_snapshot(pool, occupation, deadline) for occupation in occupations)
    running = {occupation.call._number for occupation in occupations if occupation.call is not None}
    calls = [future for number, future in list(pool.calls.items()) if number not in running]
    state = "open"
    if pool.broken_reason is not None:
        state = f"broken: {pool.broken_reason}"
    elif pool.closing:
        state = "shutting down" if workers or calls else "shut down"
    names = first_names(calls, lambda future: _name(pool, future))
    return Snapshot(name, state, pool.size, workers, len(running), len(calls), names)


def _worker_snapshot(pool: _InspectedPool, occupation: Occupation, deadline: float) -> WorkerSnapshot:
    worker, ready, call, since, spare = occupation
    stack, remark = worker.read_stack(deadline)
    called = from_call_on(stack, _ENTRANCES) if call is not None else []
    calls: tuple[CallSnapshot, ...] = ()
    if call is not None:
        name = _name(pool, call)
        if name == _UNKNOWN and called:
            name = called[0].function
        calls = (CallSnapshot(_described(name, call), *since_when(call, since)),)
    state = "running" if calls else "starting" if not ready else "spare" if spare else "idle"
    return WorkerSnapshot(worker.name, worker.pid, worker.thread, state, calls, tuple(called or stack), remark)


def described(pool: _InspectedPool, future: CallFuture[Any]) -> str:
    """Return what messages call a call: its function, as far as its body tells it, and the name that it was given."""
    return _described(_name(pool, future), future)


def _described(function: str, future: CallFuture[Any]) -> str:
    return f"{function} (named {future._cf_name!r})" if future._cf_name else function


def _name(pool: _InspectedPool, future: CallFuture[Any]) -> str:
    try:
        body = pool.body_of(future)
        return _UNKNOWN if body is None else _name_in(bytes(body))
    except Exception:  # the call has ended, and its memory holds another one: a name is not worth an error
        return _UNKNOWN


def _name_in(body: bytes) -> str:
    """Return the name of the function in the body of a call, without unpickling anything."""
    from pickletools import genops  # only who debugs needs it

    if body[0] <= 1:  # the head comes first, see `marshalled`
        return _name_in(body[3 : 3 + int.from_bytes(body[1:3])])
    strings: list[str] = []
    memo: dict[int, str] = {}
    module = name = ""
    for opcode, argument, _ in genops(body):
        kind = opcode.name
        if kind in ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"):
            strings.append(str(argument))
        elif kind == "MEMOIZE":
            memo[len(memo)] = strings[-1] if strings else ""
        elif kind in ("BINGET", "LONG_BINGET") and isinstance(argument, int):
            strings.append(memo.get(argument, ""))
        elif kind == "REDUCE" and name == "_make_function":
            return strings[-1]  # it travels as code, of which its qualified name is the last part
        elif kind in ("GLOBAL", "STACK_GLOBAL"):
            module, name = str(argument).split(" ", 1) if kind == "GLOBAL" else strings[-2:]
            if module.startswith("cloudpickle"):
                break
            if not _wraps_calls(module) and name != "_make_function":
                break
    if module.startswith("cloudpickle") or (module, name) == ("builtins", "getattr"):
        return _UNKNOWN  # made of code, or a method: the first name says nothing
    return _UNKNOWN if not name or _wraps_calls(module) else name


def _wraps_calls(module: str) -> bool:
    """Return whether what a module defines only wraps a call, which comes after it: our private modules do."""
    return module == "functools" or (module.startswith("corefutures") and "._" in module)
