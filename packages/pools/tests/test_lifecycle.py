"""`Lifecycle`: what ends at exit and what starts anew in a forked child, in which order, and what may go wrong."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from races import together
from subprocesses import run_script

from corefutures_pools.lifecycle import Lifecycle

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


class Thing:
    pass


def test_at_exit_the_kind_declared_last_ends_first_and_is_closed_before_it_is_joined() -> None:
    ended = run_script(
        """
        from corefutures_pools.lifecycle import Lifecycle
        class Thing:
            def __init__(self, name): self.name = name
        def say(what): return lambda thing: print(what, thing.name)
        kinds = [Lifecycle(close=say("close"), join=say("join")) for _ in range(2)]
        things = [Thing(name) for name in ("a", "b", "c", "d")]
        for number, thing in enumerate(things):
            kinds[number % 2].add(thing)
        dropped = Thing("dropped")
        kinds[0].add(dropped)
        del dropped
        """
    )
    assert ended.out.splitlines() == [
        "close b", "close d", "join b", "join d",
        "close a", "close c", "join a", "join c",
    ]  # fmt: skip
    assert ended.err == ""


def test_the_step_comes_before_the_threads_are_joined_and_before_other_at_exit_functions() -> None:
    ended = run_script(
        """
        import atexit, threading
        atexit.register(print, "atexit")
        from corefutures_pools.lifecycle import Lifecycle
        class Thing: pass
        done = threading.Event()
        kind, thing = Lifecycle(close=lambda _: done.set()), Thing()
        kind.add(thing)
        threading.Thread(target=lambda: print("thread", done.wait(30))).start()
        """
    )
    assert ended.out.splitlines() == ["thread True", "atexit"]


def test_one_that_fails_at_exit_stops_no_other_one() -> None:
    ended = run_script(
        """
        from corefutures_pools.lifecycle import Lifecycle
        class Thing: pass
        def fail(_): raise LookupError("at exit")
        kinds = [Lifecycle(close=lambda _: print("closed")), Lifecycle(close=fail, join=lambda _: print("joined"))]
        things = [Thing(), Thing()]
        for kind, thing in zip(kinds, things): kind.add(thing)
        """
    )
    assert ended.out.splitlines() == ["joined", "closed"]
    assert "LookupError: at exit" in ended.err


def test_an_interrupt_gives_up_every_object_of_the_kind_and_leaves_the_others() -> None:
    ended = run_script(
        """
        from corefutures_pools.lifecycle import Lifecycle
        class Thing:
            def __init__(self, name): self.name = name
        def join(thing):
            print("join", thing.name)
            if thing.name == "a": raise KeyboardInterrupt
        others = Lifecycle(close=lambda _: print("not closed"))
        kind = Lifecycle(close=id, join=join, interrupt=lambda thing: print("interrupt", thing.name))
        things = [Thing(name) for name in ("a", "b", "other")]
        for thing in things[:2]: kind.add(thing)
        others.add(things[2])
        """
    )
    assert ended.out.splitlines() == ["join a", "interrupt a", "interrupt b", "join b"]
    assert "KeyboardInterrupt" in ended.err


def test_a_kind_knows_that_its_turn_has_come_and_none_can_be_declared_after_that() -> None:
    ended = run_script(
        """
        from corefutures_pools.lifecycle import Lifecycle
        class Thing: pass
        def close(_):
            print(first.exiting, last.exiting)
            Lifecycle(after_fork=id)  # has nothing to do at exit
            try:
                Lifecycle(close=id)
            except RuntimeError as error:
                print(error)
        first, last, thing = Lifecycle(close=id), Lifecycle(close=close), Thing()
        print(first.exiting, last.exiting)
        last.add(thing)
        """
    )
    assert ended.out.splitlines() == ["False False", "False True", "can't register atexit after shutdown"]


@FORKS
def test_in_a_child_modules_are_renewed_before_the_kinds_in_the_order_of_declaration() -> None:
    ended = run_script(
        """
        import os
        from corefutures_pools.lifecycle import Lifecycle, renew_in_child
        class Thing: pass
        def say(what): return lambda *_: print(what, flush=True)
        def fail(_):
            say("fail")()
            raise LookupError("in the child")
        kinds = [Lifecycle(after_fork=fail), Lifecycle(close=id), Lifecycle(after_fork=say("last"))]
        things = [Thing() for _ in range(4)]
        for kind, thing in zip([*kinds, kinds[0]], things): kind.add(thing)
        renew_in_child(say("module"))
        import corefutures._future as core
        before = core._forks
        renew_in_child(lambda: print("fork", core._forks - before, flush=True))
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        """
    )
    assert ended.out.splitlines() == ["module", "fork 1", "fail", "fail", "last"]
    assert "LookupError: in the child" in ended.err


def test_objects_are_added_while_others_are_looked_through_and_go() -> None:
    kind = Lifecycle()
    stop = threading.Event()
    kept = Thing()

    def add() -> None:
        for _ in range(2000):
            thing: Any = Thing()
            kind.add(thing)
        stop.set()

    def look() -> None:
        while not stop.is_set():
            assert all(type(thing) is Thing for thing in kind.all())

    kind.add(kept)
    together(add, look, look)
    assert kind.all() == [kept]
