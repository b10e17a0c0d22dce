"""The worker's inlined copy of the future's transitions does what the transitions do: compared by hypothesis."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings, strategies as st

from corefutures_pools.future import PoolFuture, on_departure
from corefutures_thread import ThreadPoolExecutor

ERROR = OSError("the call failed")


class Recorder:
    """A waiter, a callback and a limiter's permit: records in which order it is called."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def add_result(self, future: Any) -> None:
        self.events.append(f"result {future._state}")

    def add_exception(self, future: Any) -> None:
        self.events.append(f"exception {future._state}")

    def add_cancelled(self, future: Any) -> None:
        self.events.append(f"cancelled {future._state}")

    def callback(self, future: Any) -> None:
        self.events.append(f"callback {future._state}")

    def release(self) -> None:
        self.events.append("started or dropped")


def subscribe(future: PoolFuture[Any], recorder: Recorder, subscriptions: list[str]) -> None:
    for kind in subscriptions:
        if kind == "waiter":
            future._cf_subscribe(recorder)
        else:
            future.add_done_callback(recorder.callback)


def run_by_transitions(future: PoolFuture[Any]) -> None:
    """Run the call as any other thread of the pool does."""
    call = future._cf_begin()
    if call is None:
        return
    fn, args, kwargs = call
    result = error = None
    try:
        result = fn(*args, **(kwargs or {}))
    except BaseException as exc:
        error = exc
    if future._cf_settle(result, error):
        future._cf_notify_in_worker()


def run_by_worker(future: PoolFuture[Any]) -> None:
    """Have the only worker of a pool run the call."""
    with ThreadPoolExecutor(1) as pool:
        placeholder = pool.submit(threading.Event().wait, 0.0)
        placeholder.result()
        pool._work_queue.append(future)
        pool.submit(int).result()


def observe(
    run: Callable[[PoolFuture[Any]], None], before: list[str], during: list[str], actions: list[str], fails: bool
) -> list[Any]:
    """Return all that can be seen of a future whose call `run` runs while others act on it."""
    recorder = Recorder()
    seen: list[Any] = []

    def act(action: str) -> None:
        if action == "cancel":
            seen.append(future.cancel())
        else:
            seen.append(future._cf_abandon(ERROR))

    def call(*args: Any, **kwargs: Any) -> Any:
        seen.extend((future._state, future._cf_fn, future._cf_args, future._cf_kwargs, args, kwargs))
        subscribe(future, recorder, during)
        for action in actions[1:]:
            act(action)
        if fails:
            raise ERROR
        return 42

    kwargs = {"key": 1} if len(before) % 2 else None
    future: PoolFuture[Any] = PoolFuture(call, (1, 2), kwargs)
    on_departure(future, recorder.release)
    subscribe(future, recorder, before)
    if actions and actions[0] != "none":
        act(actions[0])
    run(future)
    parts = (future._state, future._result, repr(future._exception), future._cf_fn, future._cf_args, future._cf_kwargs)
    return [*seen, *parts, future._cf_to_notify, future._cf_callbacks, future._cf_watched, *recorder.events]


subscriptions = st.lists(st.sampled_from(["waiter", "callback"]), max_size=3)
actions = st.lists(st.sampled_from(["none", "cancel", "abandon"]), max_size=3)


@given(subscriptions, subscriptions, actions, st.booleans())
@settings(max_examples=120)
def test_the_inlined_copy_does_what_the_transitions_do(
    before: list[str], during: list[str], actions: list[str], fails: bool
) -> None:
    actions = [*actions[:1], *(action for action in actions[1:] if action != "none")]
    expected = observe(run_by_transitions, before, during, actions, fails)
    assert observe(run_by_worker, before, during, actions, fails) == expected
