"""`Lock`: no handler, no finaliser and no interrupt finds it taken (F8)."""

from __future__ import annotations

import dis
import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from signals import Interruption, everywhere

import corefutures
from corefutures import Future, _future
from corefutures._blocking import Lock
from corefutures.backend import Backend
from corefutures.registry import _registry
from corefutures_pools.adapter import executor as adapter
from corefutures_pools.future import PoolFuture

#: What has a function called, or the interpreter look for signals: 3.11's BINARY_OP of lists and tuples calls nothing.
_CALLS = ("CALL", "PRECALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD", "BEFORE_WITH", "RAISE", "YIELD", "SEND", "IMPORT")


class Raised(BaseException):
    """What a handler raises, as Ctrl-C does."""


def is_free(lock: Any) -> bool:
    """Whether another thread can have the lock."""
    outcomes: list[bool] = []

    def take() -> None:
        outcomes.append(lock.acquire(timeout=5))
        if outcomes[0]:
            lock.release()

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return outcomes[0]


def codes_of(file: Path) -> Iterator[CodeType]:
    left = [compile(file.read_text(encoding="utf-8"), str(file), "exec")]
    while left:
        code = left.pop()
        yield code
        left += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def files() -> Iterator[Path]:
    for name in (
        "corefutures",
        "corefutures_pools",
        "corefutures_thread",
        "corefutures_process",
        "corefutures_interpreter",
    ):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            yield from Path(folder).rglob("*.py")


def held_on_each_path(code: CodeType) -> Iterator[tuple[int, str]]:
    """Every instruction of a function, with the number of locks that are held there; for each way to it."""
    instructions = list(dis.get_instructions(code))
    place = {instruction.offset: number for number, instruction in enumerate(instructions)}
    left, seen = [(0, 0, False)], set[tuple[int, int, bool]]()
    while left:
        state = left.pop()
        if state in seen:
            continue
        seen.add(state)
        number, held, tested = state  # `tested`: the next jump is that of `if lock.taken:`
        instruction = instructions[number]
        name = instruction.opname
        if name == "LOAD_ATTR" and instruction.argval == "taken":
            held, tested = held + 1, True
        elif instruction.argval in ("release", "freed") and name.startswith("LOAD_"):
            held = max(0, held - 1)  # other things are released as well
        else:
            yield held, name
        if instruction.opcode in (*dis.hasjrel, *dis.hasjabs):
            left.append((place[instruction.argval], held - (tested and "TRUE" not in name), False))
            held, tested = held - (tested and "TRUE" in name), False
            if "IF" not in name and not name.startswith(("FOR", "SEND")):
                continue
        if not name.startswith(("RETURN", "RAISE", "RERAISE")):
            left.append((number + 1, held, tested))


def test_no_code_is_called_while_the_lock_is_held() -> None:
    sections = 0
    for file in files():
        for code in codes_of(file):
            if "taken" in code.co_names and code.co_name != "Lock":
                sections += 1
                for held, name in held_on_each_path(code):
                    where = f"{file.name}: {code.co_qualname}, line {code.co_firstlineno}: {name} with {held} locks"
                    assert not held or not name.startswith((*_CALLS, "RETURN")), where
    assert sections > 15


@pytest.mark.parametrize("make", [Future, lambda: PoolFuture(print, (), None)], ids=["bare", "pool"])
def test_an_interrupt_leaves_a_future_s_lock_free(make: Callable[[], Future[int]]) -> None:
    actions: list[Callable[[Any], object]] = [
        lambda future: future.cancel(),
        lambda future: future.set_result(1),
        lambda future: future.add_done_callback(lambda _: None),
        lambda future: future.result(0),
        lambda future: future._condition,
    ]
    for action in actions:

        def scenario(interrupt: Callable[..., Interruption], action: Any = action) -> None:
            future = make()

            def handler() -> None:
                raise Raised

            try:
                with interrupt(handler):
                    action(future)
            except (Raised, TimeoutError):
                pass
            assert is_free(future._cf_lock)

        assert everywhere(scenario, _future) > 0


def test_an_interrupt_leaves_the_registry_and_adapters_free() -> None:
    subjects: list[tuple[Any, Any, Callable[[Any], object]]] = [
        (_registry, _registry.Registry, lambda registry: registry.register(Backend("own", "own:own"), replace=True)),
        (
            adapter,
            lambda: corefutures.adapt(corefutures.create_executor("thread")),
            lambda pool: pool.shutdown(),
        ),
    ]
    for module, make, action in subjects:

        def scenario(interrupt: Callable[..., Interruption], make: Any = make, action: Any = action) -> None:
            subject = make()

            def handler() -> None:
                raise Raised

            try:
                with interrupt(handler):
                    action(subject)
            except Raised:
                pass
            assert is_free(subject._lock)
            action(subject)

        assert everywhere(scenario, module) > 0


def test_a_thread_that_waits_for_the_lock_acquires_it_in_the_end() -> None:
    lock = Lock()
    counts = [0]

    def count() -> None:
        for _ in range(2000):
            if lock.taken:
                counts[0] += 1
                lock.release()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [8000]
