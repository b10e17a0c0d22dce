"""What runs in a worker interpreter: takes its ends and serves, until it is told to stop.

Entered once, by the worker's thread. Touches the worker's side of the shared machinery and as little else as can be,
because each interpreter imports it anew. Guarantees: as the shared loops do; it ends, whatever the initializer does.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import pickle

from corefutures_interpreter._failures import FailureReporter, remember_refusals
from corefutures_interpreter._serialization import MAINS, Encoder, undecodable, unload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: True while this interpreter runs the caller's main module: no pool can be made then.
importing_main = False


def serve(
    ends: tuple[Any, ...],
    initializer: bytes | None,
    serializer: str,
    main: tuple[str | None, str | None],
    log: tuple[int, dict[str, int]] | None,
) -> bytes | None:
    """Serves a pool until it ends.

    Args:
        ends: What `_launcher` made of the pool's.
        initializer: The pickled call that comes first.
        serializer: Results are serialised with it.
        main: The name and the file of the caller's main module.
        log: Where records are to be sent, and the levels of loggers; None leaves them to this interpreter.

    Returns:
        What is to be said of the initializer if it failed, as the body of INIT_FAILED.
    """
    if log is not None:
        _forward_logs(*log)
    remember_refusals()
    decoder = _Decoder(*main)
    encode = Encoder(serializer)
    if initializer is not None:
        try:
            function, arguments = decoder.body(initializer)
            function(*arguments)
        except BaseException as exc:
            return FailureReporter(encode).error(exc)[1]
    way = ends[0]
    common = {"encode": encode, "prepare": None, "limit": None, "decode": decoder.body, "reporter": FailureReporter}
    if way == "tickets":
        _serve_tickets(*ends[1:], decoder=decoder, common=common)
    else:
        _serve_pair(*ends[1:], decoder=decoder, common=common)
    return None


def _serve_tickets(
    tasks: int,
    frames: int,
    memory: int,
    memory_size: int,
    status_size: int,
    worker_index: int,
    bell: int,
    queues: tuple[int, int],
    *,
    decoder: _Decoder,
    common: dict[str, Any],
) -> None:
    if sys.platform != "linux":
        raise OSError("only Linux has tickets")
    import mmap

    from corefutures_pools.workers.worker_loop import serve_shared_queue

    serve_shared_queue(
        tasks=tasks,
        frames=frames,
        # Each mapping would have a descriptor of its own.
        arena=mmap.mmap(memory, memory_size, access=mmap.ACCESS_READ, trackfd=False),
        status_table=memoryview(mmap.mmap(memory, status_size, trackfd=False)).cast("Q"),
        worker_index=worker_index,
        channel=_LazyPayloadChannel(bell, queues, decoder.payload),
        **common,
    )


def _serve_pair(handle: int, queues: tuple[int, int], *, decoder: _Decoder, common: dict[str, Any]) -> None:
    from multiprocessing import connection as connections

    from corefutures_interpreter._payload_channel import QueuePair
    from corefutures_pools.workers.pipes.worker import serve_pipe

    counter = QueuePair(*queues)
    connection: Any
    if sys.platform == "win32":
        connection = connections.PipeConnection(handle)
    else:
        connection = connections.Connection(handle)

    def fetch(_: Any) -> Any:
        connection.recv_bytes()  # the bell
        return decoder.payload(counter.take())

    def ship(_: Any, payload: Any) -> None:
        counter.put(payload)
        connection.send_bytes(b"")

    try:
        serve_pipe(connection=connection, fetch=fetch, ship=ship, **common)
    finally:
        connection._handle = None  # the worker's thread closes it


def _forward_logs(end: Any, levels: dict[str, int]) -> None:
    from corefutures_pools.workers.logging.sender import forward_logs  # few workers need it

    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        end = PipeConnection(end, readable=False)
    forward_logs(end, levels)


class _LazyPayloadChannel:
    """Stands in for the `WorkerQueueChannel`, which is made when the first payload comes: most workers see none."""

    def __init__(self, bell: int, queues: tuple[int, int], decode: Callable[[Any], Any]) -> None:
        self._rest = bell, queues, decode
        self._channel: Any = None

    def receive(self, number: int) -> Any:
        return self._made().receive(number)

    def send(self, number: int, payload: Any) -> None:
        self._made().send(number, payload)

    def _made(self) -> Any:
        if self._channel is None:
            from corefutures_interpreter._payload_channel import QueuePair, WorkerQueueChannel

            bell, queues, decode = self._rest
            self._channel = WorkerQueueChannel(bell, QueuePair(*queues), decode)
        return self._channel


class _Decoder:
    """Decodes calls; brings in the caller's main module when one of them needs it.

    Args:
        name: The name of that module if it was started by its name.
        path: Its file, if it has one.
    """

    def __init__(self, name: str | None, path: str | None) -> None:
        self._main = name, path
        self._awaited = name is not None or path is not None
        self._failure: BaseException | None = None  # why that module can't be imported here

    def body(self, body: Any) -> Any:
        """Decodes an inline body."""
        return self._decode(pickle.loads, body)

    def payload(self, manifest: tuple[Any, ...]) -> Any:
        """Decodes a payload; its buffers stay in the caller's memory."""
        return self._decode(unload, manifest)

    def _decode(self, load: Callable[[Any], Any], body: Any) -> Any:
        try:
            try:
                return load(body)
            except (AttributeError, ModuleNotFoundError) as exc:
                if not (self._awaited and any(main in str(exc) for main in MAINS)):
                    raise
            self._bring_in_main()
            return load(body)
        except ImportError:
            raise
        except Exception as exc:
            raise undecodable("args", exc) from exc

    def _bring_in_main(self) -> None:
        """Runs the caller's main module here, under another name than `__main__`, as multiprocessing does."""
        import runpy
        from types import ModuleType

        global importing_main
        if self._failure is not None:  # it is run once, and each call that needs it is told
            raise self._failure.with_traceback(None)
        name, path = self._main
        importing_main = True
        try:
            if name is not None:
                content = runpy.run_module(name, run_name="__mp_main__", alter_sys=True)
            else:
                content = runpy.run_path(path or "", run_name="__mp_main__")
        except BaseException as exc:
            self._failure = exc
            raise
        finally:
            importing_main = False
        self._awaited = False
        module = ModuleType("__mp_main__")
        module.__dict__.update(content)
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
