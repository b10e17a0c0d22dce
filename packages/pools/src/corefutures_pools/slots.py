"""The slots of a pool, which are named resources such as GPUs, and `SlotScheduler`, which grants them to calls.

Touches the futures of the calls; a pool without slots does not import this file. Guarantees: no slot is held by two
calls at once; a call that waits for slots holds up no call with other demands; the slots of a call are free again when
its future has ended, however it ends; no call is overtaken for ever.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from corefutures._blocking import Lock, Parker, _thread, clock, nested_loops, queue, threading
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER
from corefutures._options import check_text, shown
from corefutures_pools.slot_call import SlotCall, make_grant

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Final, Protocol

    from corefutures._exceptions import DeadlockError
    from corefutures._future import Future

    class SlotPool(Protocol):
        """What a scheduler needs of a pool."""

        def dispatch_held(self, future: Any, grant: bytes) -> None:
            """Queue a call that was held until it had its slots."""
            ...

        def on_held_ended(self, future: Any) -> None:
            """Note that a call has ended while it was held."""
            ...

        def on_held_left(self) -> None:
            """Note that a call is held no more."""
            ...


#: A call that so many later calls have overtaken goes before all others that demand the same slots.
_PATIENCE: Final = 100


#: For a `SlotSet` without slots, of a pool whose calls wait for something else.
NO_SLOTS: Final[dict[str, int]] = {}


class Demand:
    """What a call demands: the same object for all calls with equal demands, which are one class of calls.

    Attributes:
        amount: The numbers of slots, each in the bits of its name: see `SlotSet`.
        mask: All bits of those names.
        layout: For the worker.
        counts: The names and the numbers, in the order of the layout.
    """

    __slots__ = ("amount", "counts", "layout", "mask")

    def __init__(self, amount: int, mask: int, layout: Any) -> None:
        self.amount = amount
        self.mask = mask
        self.layout = layout
        self.counts: list[tuple[str, int]] = [(name, number) for name, _, number, _ in layout]

    def call(self, fn: Callable[..., Any]) -> SlotCall:
        """Return `fn` as a callable that holds such slots, once they are granted."""
        call = SlotCall(make_grant([0] * sum(number for _, number in self.counts)), self.layout, fn)
        call.demand = self
        return call


class SlotSet:
    """The slots of a pool: for each name the ids.

    The number of free slots of all names is one int: each name has some bits of it, and a bit above them that is free.
    So a demand is met, or not, in one step.

    Args:
        given: The option `slots`: for each name a number, or a list of ids.
        variables: The environment variables that tell the ids of a name.

    Raises:
        TypeError: The option is no mapping of names to numbers or lists of ids.
        ValueError: A name is empty, a number not positive, or a list empty or with equal ids.
    """

    def __init__(self, given: Any, variables: Mapping[str, str]) -> None:
        if not isinstance(given, Mapping):
            raise TypeError(f"slots must be a dict such as {{'gpu': [0, 1], 'db': 3}}, not {shown(given)}")
        if not given and given is not NO_SLOTS:
            raise ValueError("slots names no slots: leave it out, or write a dict such as {'gpu': [0, 1], 'db': 3}")
        self.ids: dict[str, Sequence[Any]] = {name: _checked_ids(name, value) for name, value in given.items()}
        self._variables = variables
        self._shifts: dict[str, int] = {}
        self.all = self.guards = shift = 0
        for name, ids in self.ids.items():
            self._shifts[name] = shift
            self.all |= len(ids) << shift
            shift += len(ids).bit_length()
            self.guards |= 1 << shift
            shift += 1
        self._demands: dict[Any, Demand] = {}

    def demand(self, given: Any) -> Demand:
        """Check what `options(slots=…)` demands for each call.

        Raises:
            TypeError: It is no mapping of names to numbers.
            ValueError: The pool has no slots of a name, or not so many; or a number is not positive.
        """
        if not isinstance(given, Mapping):
            raise TypeError(f"slots must be a dict such as {{'gpu': 1}}, not {shown(given)}")
        if not given:
            raise ValueError("slots demands nothing: leave it out, or write a dict such as {'gpu': 1}")
        for name, number in given.items():
            if name not in self.ids:
                raise ValueError(f"this pool has no slots {shown(name)}; it has {', '.join(map(repr, self.ids))}")
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"a call demands a number of slots {name!r}, not {shown(number)}")
            if number <= 0:
                raise ValueError(f"a call demands at least one of the slots {name!r}, not {number}; or leave it out")
            if number > len(self.ids[name]):
                raise ValueError(
                    f"a call that demands {number} slots {name!r} could never run: this pool has {len(self.ids[name])}"
                )
        key = tuple(sorted(given.items()))
        demand = self._demands.get(key)
        if demand is None:
            layout = tuple((name, self.ids[name], number, self._variables.get(name)) for name, number in key)
            amount = sum(number << self._shifts[name] for name, number in key)
            mask = sum(((1 << len(self.ids[name]).bit_length()) - 1) << self._shifts[name] for name, _ in key)
            demand = self._demands.setdefault(key, Demand(amount, mask, layout))
        return demand


def _checked_ids(name: Any, value: Any) -> Sequence[Any]:
    check_text("the name of slots", name)
    if not name:
        raise ValueError("the name of slots is empty")
    if isinstance(value, int) and not isinstance(value, bool):
        if value <= 0:
            raise ValueError(f"slots {name!r} must be at least one, not {value}")
        return range(value)
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple, range)):
        raise TypeError(f"slots {name!r} must be a number or a list of ids, not {shown(value)}")
    ids = tuple(value)
    for item in ids:
        if isinstance(item, bool) or not isinstance(item, (int, str)):
            raise TypeError(f"the id of a slot {name!r} must be an int or a str, not {shown(item)}")
    if not ids:
        raise ValueError(f"slots {name!r} has no ids: list at least one")
    if len(set(ids)) < len(ids):
        raise ValueError(f"slots {name!r} has an id twice: {shown(value)}")
    return ids


class HeldCall:
    """A call that waits for slots, or holds some."""

    __slots__ = ("call", "demand", "future", "indexes", "number", "overtaken", "pool", "scheduler")

    def __init__(self, scheduler: SlotScheduler, future: Future[Any], call: SlotCall, pool: SlotPool) -> None:
        self.scheduler = scheduler
        self.future = future
        self.demand: Demand = call.demand
        self.call = call
        self.pool = pool
        self.number = 0  # in the order of submission
        # written by the thread that grants slots
        self.overtaken = 0  # how many later calls of other classes were given slots that this one demands
        # written by that thread too
        self.indexes: list[int] = []  # of the slots that it holds

    def holders(self) -> list[Any]:
        """Return the calls that hold slots that this one waits for; none if it waits for slots no more."""
        scheduler = self.scheduler
        scheduler.catch_up()
        if self.future not in scheduler.held:
            return []
        mask = self.demand.mask
        return [other.future for other in list(scheduler.granted.values()) if other.demand.mask & mask]

    def deadlock(self, name: str) -> DeadlockError:
        """Return the error of a call of that name, for which `waits_for_ever` is true."""
        from corefutures._exceptions import DeadlockError  # here for start-up time only

        return DeadlockError(
            f"{name} holds slots, and waits for a call that can't have its slots before:"
            f" slots={dict(self.demand.counts)!r}"
        )

    def waits_for_ever(self, calls: Sequence[Any]) -> bool:
        """Return whether the demand can't be met before one of these calls has ended."""
        scheduler = self.scheduler
        scheduler.catch_up()
        if self.future not in scheduler.held:
            return False
        granted = [held for future in calls if (held := scheduler.granted.get(future)) is not None]
        left = scheduler.slots.all - sum(held.demand.amount for held in granted)
        return not scheduler.covers(left, self.demand)


class SlotScheduler:
    """Holds the calls of one pool that demand slots, and grants slots to them, class by class in their order.

    A thread of its own does so, which exists while there are such calls:

    1. A submitter enters its call into `held`, puts it into `_events`, then starts a thread unless one serves.
    2. The thread takes an event: a call that is new, or a future that has ended, which its callback has put there.
    3. It notes what is free by that, and has each call dispatched whose turn it is, and whose slots are free.
    4. A thread without calls leaves: it declares that it serves no more, then looks for events and calls again.

    So neither an interrupt nor a signal handler, which come in the main thread, can come between the steps of a grant.
    Finalisers can, and may wait for such calls: then the thread goes on in a nested loop. Each step of a grant is whole
    for that: slots are taken in one step, and the oldest call leaves its class in one step.

    Args:
        slots: The slots.
        admits: Returns whether the pool takes one more call, besides so many; None if that depends on slots alone.

    Attributes:
        held: The calls that wait for slots, by their futures.
        granted: The calls that hold slots, by their futures.

    Thread safety: the public methods may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, slots: SlotSet, admits: Callable[[int], bool] | None = None) -> None:
        self.slots = slots
        self._admits = admits
        #: What calls without slots demand, where each call waits to be admitted; or else None, and they are not held.
        self.nothing = None if admits is None else Demand(0, 0, ())
        self.held: dict[Any, HeldCall] = {}
        self.granted: dict[Any, HeldCall] = {}
        self._numbers = count(1)
        # HeldCall: a new call. Future: one that has ended. Parker: of a thread that waits until this is reached. None:
        # more calls may be admitted.
        self._events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # Guards `_serving`, whether a thread serves, and `_free`, what is free. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._serving = False
        self._free = slots.all
        # The rest is for the thread that serves.
        self._waiting: dict[Demand, deque[HeldCall]] = {}
        self._free_indexes = {name: deque(range(len(ids))) for name, ids in slots.ids.items()}

    # ── for submitters ───────────────────────────────────────────────────────────────────────────────────

    def enter(self, future: Future[Any], call: SlotCall, pool: SlotPool) -> HeldCall:
        """Hold a call: before the pool looks whether it is closed. `submit` or `withdraw` follows."""
        held = self.held[future] = HeldCall(self, future, call, pool)
        return held

    def submit(self, future: Future[Any]) -> None:
        """Have a call that was entered dispatched once it has its slots.

        It may have ended since, with its pool: then it was withdrawn.

        Raises:
            RuntimeError: No thread can be started.
        """
        held = self.held.get(future)
        if held is None:
            return
        held.number = next(self._numbers)
        future.add_done_callback(self._events.put)  # first: a call that is cancelled meanwhile is told
        self._events.put(held)
        self._ensure_served()

    def withdraw(self, future: Future[Any]) -> None:
        """Forget a call that has ended: its submission has failed, or its pool."""
        if self.held.pop(future, None) is not None and self._serving:
            self._events.put(future)

    def look_again(self) -> None:
        """Have calls dispatched that are admitted only now."""
        if self._serving:
            self._events.put(None)

    def catch_up(self) -> None:
        """Wait until the thread has done what the events so far ask for: for a worker that is about to sleep."""
        parker = Parker()
        self._events.put(parker)
        self._ensure_served()
        parker.park()

    def _ensure_served(self) -> None:
        if not self._serving:
            _thread.start_new_thread(self._serve, ())

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        ident = _thread.get_ident()
        try:
            while self._begin_serving():
                nested_loops[ident] = self._serve_nested
                while self.held or self.granted or not self._events.empty():
                    self._take(self._events.get())
                self._serving = False
                if self._events.empty() and not self.held:
                    return
        finally:
            nested_loops.pop(ident, None)
            if sys.version_info < (3, 12):  # there, `threading` remembers a thread that it did not start for ever
                threading._active.pop(ident, None)  # type: ignore[attr-defined]

    def _begin_serving(self) -> bool:
        """Become the thread that serves; return False if there is one."""
        begun = False
        if self._lock.taken:
            if not self._serving:
                self._serving = begun = True
            self._lock.release()
        return begun

    def _serve_nested(self, enough: Callable[[], bool], deadline: float | None) -> None:
        """Go on while a finaliser that has interrupted this thread waits for a future: see `nested_loops`."""
        while not enough():
            left = _NESTED_INTERVAL if deadline is None else min(_NESTED_INTERVAL, deadline - clock.monotonic())
            if left <= 0:
                return
            try:
                event = self._events.get(timeout=left)
            except queue.Empty:
                continue
            self._take(event)

    def _take(self, event: Any) -> None:
        """Take in an event, and grant what can be granted."""
        try:
            if isinstance(event, HeldCall):
                self._waiting.setdefault(event.demand, deque()).append(event)
            elif event is not None and not isinstance(event, Parker):
                self._release(event)
            self._grant()
        except BaseException:  # of one call: the others go on
            log_failure(LOGGER, "the slots of a call could not be granted or freed: %r", event)
        if isinstance(event, Parker):
            event.unpark()

    def _release(self, future: Any) -> None:
        """Free the slots of a call that has ended, or forget that it waits for some."""
        held = self.granted.pop(future, None)
        if held is not None:
            indexes = iter(held.indexes)
            for name, number in held.demand.counts:
                for _ in range(number):
                    self._free_indexes[name].appendleft(next(indexes))
            self._give(held.demand.amount)
            return
        held = self.held.pop(future, None)
        if held is not None:  # it stays in its class until its turn comes
            held.pool.on_held_ended(future)
            held.pool.on_held_left()

    def _give(self, amount: int) -> None:
        if self._lock.taken:
            self._free += amount
            self._lock.release()

    def _claim(self, demand: Demand) -> bool:
        """Take the slots of a demand if they are free; return whether they were."""
        amount, guards, claimed = demand.amount, self.slots.guards, False
        if self._lock.taken:
            if ((self._free | guards) - amount) & guards == guards:
                self._free -= amount
                claimed = True
            self._lock.release()
        return claimed

    def covers(self, free: int, demand: Demand) -> bool:
        """Return whether so many free slots meet a demand."""
        guards = self.slots.guards
        return free >= 0 and ((free | guards) - demand.amount) & guards == guards

    def _grant(self) -> None:
        """Dispatch each call whose slots are free: of each class the oldest first, of the classes the one with that."""
        reserved = 0  # the slots that an overtaken call waits for
        classes = [(waiting[0].number, demand, waiting) for demand, waiting in list(self._waiting.items()) if waiting]
        for _, demand, waiting in sorted(classes, key=_first):
            while waiting:
                oldest = waiting[0]
                if oldest.future.done():
                    with suppress(ValueError):  # a nested loop was faster
                        waiting.remove(oldest)
                    continue
                if self._admits is not None and self.granted and not self._admits(len(self.granted)):
                    return  # one call always runs
                if demand.mask & reserved or not self._claim(demand):
                    if waiting[0].overtaken >= _PATIENCE:
                        reserved |= demand.mask
                    break
                try:
                    held = waiting.popleft()
                except IndexError:  # a nested loop was faster
                    self._give(demand.amount)
                    break
                self._dispatch(held)
                for older in [others[0] for _, _, others in classes if others and others is not waiting]:
                    if older.number < held.number and older.demand.mask & demand.mask:
                        older.overtaken += 1

    def _dispatch(self, held: HeldCall) -> None:
        """Give a call its slots, which are taken for it, and have it queued."""
        for name, number in held.demand.counts:
            held.indexes += sorted([self._free_indexes[name].popleft() for _ in range(number)])
        future = held.future
        self.granted[future] = held
        if future not in self.held:  # a nested loop has taken in its end, when it had no slots
            self._release(future)
            return
        held.call.grant = grant = make_grant(held.indexes)
        # Queued first: a thread that cancels the calls that wait finds this one here or there.
        try:
            held.pool.dispatch_held(future, grant)
        finally:
            self.held.pop(future, None)
            held.pool.on_held_left()


#: Seconds between looks whether a finaliser that waits in the thread need wait no longer.
_NESTED_INTERVAL: Final = 0.01


def _first(item: tuple[int, Demand, deque[HeldCall]]) -> int:
    return item[0]
