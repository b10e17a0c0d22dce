"""The code of a worker interpreter: opens its ends of the transport and runs the shared worker loop.

The worker's thread enters it once. Touches the worker's side of the shared machinery and imports little, because each
interpreter imports it anew. Guarantees: those of the shared loops; the worker ends, whatever the initializer does.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

from corefutures_interpreter._failures import FailureReporter, record_refusals
from corefutures_interpreter._functions import MAIN_MODULES, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_interpreter._payload_channel import WorkerQueueChannel
    from corefutures_interpreter._refusing import Refuser

#: True while this interpreter runs the program's main module, which must not make a pool then.
importing_main = False


def serve(
    ends: tuple[Any, ...],
    initializer: bytes | None,
    serializer: str,
    main: tuple[str | None, str | None],
    log: tuple[int, dict[str, int]] | None,
    on_refusal: str,
) -> bytes | None:
    """Serve a pool until it ends.

    Args:
        ends: The worker's ends of the transport, as `_launcher` made them.
        initializer: The pickled call of the initializer, or None.
        serializer: The serializer for results.
        main: The name and the file of the program's main module.
        log: The descriptor to write log records to, and the levels of loggers; None leaves records to this interpreter.
        on_refusal: The executor's option.

    Returns:
        The body of INIT_FAILED if the initializer failed.
    """
    if log is not None:
        _forward_logs(*log)
    record_refusals()
    decoder = _Decoder(*main)
    reporter = _Reporter(serializer)
    if on_refusal != "raise":
        from corefutures_interpreter._refusing import Refuser

        decoder.refuser = reporter.refuse = Refuser(reporter, reruns=on_refusal == "rerun")
    if initializer is not None:
        from corefutures_pools.blocking import set_cancel_probe
        from corefutures_pools.workers.worker_loop import end_worker

        set_cancel_probe(bool)  # a worker from here on; no call runs yet that could be asked to stop
        function: Any = None
        try:
            function, arguments = decoder.body(initializer)
            function(*arguments)
        except BaseException as exc:
            refuse, refuser = None, decoder.refuser
            if refuser is not None:
                refuse = refuser.initializer_refused(exc, begun=function is not None)
            if refuse is None:
                body = reporter.error(exc)[1]
                end_worker()
                return body
            decoder.body = decoder.payload = refuse  # type: ignore[method-assign, assignment]
    common = {
        "encode": None, "prepare": None, "limit": None, "decode": decoder.body, "reporter": lambda _: reporter,
    }  # fmt: skip
    transport, *rest = ends
    serve_transport = _serve_shared_queue if transport == "shared queue" else _serve_pipe
    serve_transport(*rest, decoder=decoder, common=common)
    return None


def _serve_shared_queue(
    tasks: int,
    frames: int,
    memory: int,
    memory_size: int,
    status_size: int,
    slot_starts: tuple[int, int],
    worker_index: int,
    header_pipe: int,
    queues: tuple[int, int],
    *,
    decoder: _Decoder,
    common: dict[str, Any],
) -> None:
    if sys.platform != "linux":
        raise OSError("only Linux has shared queues")
    import mmap

    from corefutures_pools.workers.shared_queue.worker import serve_shared_queue

    serve_shared_queue(
        tasks=tasks,
        frames=frames,
        # Without `trackfd` a mapping would duplicate the descriptor.
        arena=mmap.mmap(memory, memory_size, trackfd=False),
        slot_starts=slot_starts,
        status_table=memoryview(mmap.mmap(memory, status_size, trackfd=False)).cast("Q"),
        worker_index=worker_index,
        channel=_LazyPayloadChannel(header_pipe, queues, decoder.payload),
        **common,
    )


def _serve_pipe(handle: int, queue_ids: tuple[int, int], *, decoder: _Decoder, common: dict[str, Any]) -> None:
    from multiprocessing import connection as connections

    from corefutures_interpreter._payload_channel import QueuePair
    from corefutures_pools.workers.pipes.worker import serve_pipe

    queues = QueuePair(*queue_ids)
    connection: Any
    if sys.platform == "win32":
        connection = connections.PipeConnection(handle)
    else:
        connection = connections.Connection(handle)

    def receive(_: Any) -> Any:
        connection.recv_bytes()  # empty: announces the payload
        return decoder.payload(queues.receive())

    def send(_: Any, payload: Any) -> None:
        queues.send(payload)
        connection.send_bytes(b"")

    try:
        serve_pipe(connection=connection, fetch=receive, ship=send, **common)
    finally:
        connection._handle = None  # released: the worker's thread closes it


def _forward_logs(end: Any, levels: dict[str, int]) -> None:
    from corefutures_pools.workers.logging.sender import forward_logs  # few workers need it

    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        end = PipeConnection(end, readable=False)
    forward_logs(end, levels)


class _Reporter(FailureReporter):
    """A reporter whose encoder is made for the first outcome that can't be marshalled: it imports `pickle`."""

    def __init__(self, serializer: str) -> None:
        self._serializer = serializer

    def __getattr__(self, name: str) -> Any:
        if name != "encode":
            raise AttributeError(name)
        from corefutures_interpreter._serialization import make_encoder

        self.encode = make_encoder(self._serializer)
        return self.encode


class _LazyPayloadChannel:
    """A `WorkerQueueChannel` that is made for the first payload: most workers receive none."""

    def __init__(self, header_pipe: int, queue_ids: tuple[int, int], decode: Callable[[Any], Any]) -> None:
        self._arguments = header_pipe, queue_ids, decode
        self._channel: Any = None

    def receive(self, number: int) -> Any:
        """See `WorkerPayloadChannel.receive`."""
        return self._made().receive(number)

    def send(self, number: int, payload: Any) -> None:
        """See `WorkerPayloadChannel.send`."""
        self._made().send(number, payload)

    def receive_grant(self, number: int) -> int:
        """See `WorkerPayloadChannel.receive_grant`."""
        return self._made().receive_grant(number)

    def _made(self) -> WorkerQueueChannel:
        if self._channel is None:
            from corefutures_interpreter._payload_channel import QueuePair, WorkerQueueChannel

            header_pipe, queue_ids, decode = self._arguments
            self._channel = WorkerQueueChannel(header_pipe, QueuePair(*queue_ids), decode)
        return self._channel  # type: ignore[no-any-return]


class _Decoder:
    """Decodes calls; imports the program's main module when one of them needs it.

    Args:
        name: The name of the main module if it was started by its name.
        path: The file of the main module if it has one.
    """

    def __init__(self, name: str | None, path: str | None) -> None:
        self._main = name, path
        self._can_import_main = name is not None or path is not None
        self._failure: BaseException | None = None  # the reason why the main module can't be imported here
        #: Sends calls back that can't be loaded here, if they may be.
        self.refuser: Refuser | None = None

    def body(self, body: Any) -> Any:
        """Decode an inline body."""
        return self._decode(loads, body)

    def payload(self, views: tuple[Any, ...]) -> Any:
        """Decode a payload; its buffers stay in the memory of the pool's interpreter."""
        from corefutures_interpreter._serialization import load

        if self.refuser is not None:
            return self.refuser.payload(views, lambda views: self._decode(load, views))
        return self._decode(load, views)

    def _decode(self, decode: Callable[[Any], Any], body: Any) -> Any:
        try:
            try:
                return decode(body)
            except (AttributeError, ModuleNotFoundError) as exc:
                if not (self._can_import_main and any(main in str(exc) for main in MAIN_MODULES)):
                    raise
            self._import_main()
            return decode(body)
        except ImportError:
            raise
        except Exception as exc:
            from corefutures_interpreter._serialization import undecodable

            raise undecodable("args", exc) from exc

    def _import_main(self) -> None:
        """Run the program's main module here, under another name than `__main__`, as multiprocessing does."""
        import runpy
        from types import ModuleType

        global importing_main
        if self._failure is not None:  # the module runs once; each call that needs it fails with the same error
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
        self._can_import_main = False
        module = ModuleType("__mp_main__")
        module.__dict__.update(content)
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
