"""`ProcessPoolExecutor`: the manual's process pool, on the machinery that isolated workers share.

Touches that machinery, `multiprocessing` and the modules of this package. Guarantees: the manual's rules for the
arguments, checked at the call; the keyword-only additions change nothing unless they are used.
"""

from __future__ import annotations

import concurrent.futures.process as _standard
import multiprocessing
import pickle
import sys
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

from corefutures_pools.executor import check_at_exit
from corefutures_pools.options import check_choice, check_count, check_flag, check_initializer, not_callable, shown
from corefutures_pools.replaced_submit import Seen, StandardSubmit
from corefutures_pools.workers.executor import IsolatedExecutor, check_serializer

TYPE_CHECKING = False  # as in `corefutures`: spawned workers run the main module's imports, and do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess
    from typing import Any, ParamSpec, TypeVar

    from corefutures.backend import Future
    from corefutures_pools.blocking import threading
    from corefutures_pools.options import AtExit, ContextOption, SlotsOption, WhenFull
    from corefutures_pools.workers.pool import WorkerPool

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

#: Windows waits for at most 64 objects at a time; the standard library leaves 3 of them for itself.
_MOST_ON_WINDOWS = 61

_TERMINATE, _KILL = "terminate", "kill"

#: The environment variables that tell calls the ids of their slots.
_SLOT_VARIABLES = {"gpu": "CUDA_VISIBLE_DEVICES"}

#: The hint of a pool whose workers are not started by the default method, for the sake of an option.
_CHOSEN = "Its workers are started by {!r} and not by 'fork', the default here, with which {} can't be had."

_OWN_WORKER = (
    "a call can't submit to the process pool that runs it: have it return what is to be called next, which its caller"
    " submits, or use create_executor('thread'), whose calls may submit others"
)


_StandardPool = _standard.ProcessPoolExecutor


def _make_proxy(executor: ProcessPoolExecutor) -> Any:
    from corefutures_process._standard_pool_proxy import proxy_class

    return proxy_class(_StandardPool)(executor)


_submit = StandardSubmit(_StandardPool, "_work_ids", _make_proxy)


class ProcessPoolExecutor(IsolatedExecutor, _standard.ProcessPoolExecutor):
    """Runs calls in a pool of processes.

    A subclass of the standard library's class by type only: no method is inherited.

    Args:
        max_workers: The maximum number of processes; None for the number of processors that this process may use, by
            its affinity and its container's limit.
        mp_context: The multiprocessing context that makes the processes, or the name of a start method; None for the
            default one, or for forkserver where the default is fork and an option or a time limit needs another one.
        initializer: Called in each process before its first call. If it fails, the pool is broken.
        initargs: The arguments for `initializer`.
        max_tasks_per_child: The number of calls after which a new process replaces the old one; None for no limit.
            Without `mp_context`, the start method is then spawn. Not available with fork.
        on_worker_loss: The effect of the loss of a process. "break": every call fails with `BrokenProcessPool`, as in
            the manual. "replace": only the call that it was running fails, with `WorkerLostError`, and a new process
            replaces it; unless several in a row are lost before they finish a call. Not available with fork.
        serializer: "pickle", or "cloudpickle" (to be installed) for lambdas, closures, and functions from an
            interactive session.
        max_pending: The maximum number of calls that wait to be started, besides those that run; None for no limit.
        when_full: The fate of a call beyond that limit: "block" `submit` until another call starts, "raise" a
            `PoolFullError`, or "caller_runs" the call in the submitter's thread.
        at_exit: The fate of the calls when the interpreter ends: "wait" for them, "cancel" those that wait and ask
            those that run to stop (see `cancel_requested`), or "kill" the processes.
        context: The names of context variables whose values are sent with each call, such as
            `["package.module:variable"]`: a call sees the values where it was submitted. They are pickled with it.
        inner_threads: The number of threads that BLAS and OpenMP may start in each process; None for their defaults.
            Libraries that a process has when it starts, as with fork, are limited if threadpoolctl is installed.
        forward_logs: Whether log records of the processes are handled here, by the logging configuration of this
            process. The levels are those that loggers have here when a process starts.
        kill_tree: Whether killing or terminating a process, for its call or with the pool, also ends the programs that
            it has started, and their programs, except daemons. Has no effect on Windows.
        kill_on_cancel: Whether cancelling a call that runs kills its process, so that the call fails with
            `WorkerLostError`. Not available with fork.
        warm: The names of modules, such as `["numpy", "package.module"]`. A template process imports them once, and
            the workers are forked from it, so that they start fast. The template is made with the pool, which waits
            for the imports; pools with the same modules share it. Needs forkserver.
        memory: The private memory that each process may have, such as "4 GiB", "500 MB" or a number of bytes; None for
            no limit. The process of a call that exceeds it is killed, so that the call fails with `WorkerLostError`.
            Not available with fork; elsewhere than on Linux it needs psutil.
        memory_total: The private memory of all processes together, as a size, above which no waiting call is started;
            but one call always runs. Not available with fork, nor with `when_full="caller_runs"`.
        slots: Named resources that calls may demand with `options(slots=…)`, such as `{"gpu": [0, 1], "db": 3}`: for
            each name a list of ids, or a number. A call that has slots "gpu" runs with `CUDA_VISIBLE_DEVICES` set to
            their ids.
        spares: The number of processes that are kept started besides, and take no calls until a process is needed: most
            of all when one is lost. They run the initializer before. Not available with fork.

    Raises:
        ValueError: An argument has an invalid value, or two arguments are incompatible.
        TypeError: An argument is of the wrong type.
        ImportError: A module of `warm` can't be imported; the cause has the traceback.
        UnsupportedError: A module of `warm` starts threads when it is imported, or the platform has no forkserver.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    _cf_remote_traceback = staticmethod(_standard._RemoteTraceback)  # type: ignore[assignment]

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_loss: str = "break",
        serializer: str = "pickle",
        max_pending: int | None = None,
        when_full: WhenFull = "block",
        at_exit: AtExit = "wait",
        kill_on_cancel: bool = False,
        kill_tree: bool = True,
        context: ContextOption = None,
        inner_threads: int | None = None,
        forward_logs: bool = False,
        warm: Iterable[str] | None = None,
        memory: int | str | None = None,
        memory_total: int | str | None = None,
        slots: SlotsOption = None,
        spares: int = 0,
    ) -> None:
        # Imports in functions are here for start-up time only.
        from corefutures_pools.workers.main_file import note_main_file
        from corefutures_pools.workers.supervisor import BREAK, REPLACE
        from corefutures_process._inner_threads import check_inner_threads

        note_main_file()
        self._max_workers: int = _checked_size(max_workers)
        _check_spares(spares, self._max_workers)
        self._initargs = check_initializer(initializer, initargs)
        self._initializer: Callable[..., object] | None = initializer  # type: ignore[assignment]
        _check_tasks(max_tasks_per_child)
        self._max_tasks_per_child = max_tasks_per_child
        check_choice("on_worker_loss", on_worker_loss, (BREAK, REPLACE))
        check_serializer(serializer, "corefutures-process")
        check_at_exit(self, at_exit)
        check_inner_threads(inner_threads)
        for name, flag in [
            ("forward_logs", forward_logs), ("kill_on_cancel", kill_on_cancel), ("kill_tree", kill_tree),
        ]:  # fmt: skip
            check_flag(name, flag)
        self._cf_carried = None
        if context is not None:
            from corefutures_pools.context import check_carried

            self._cf_carried = check_carried(self, context)
        self._cf_memory = self._cf_memory_limits(memory, memory_total)
        if memory_total is not None and when_full == "caller_runs":
            raise ValueError("memory_total has no effect on calls that their submitter runs: use another when_full")
        replacing = {
            "max_tasks_per_child": max_tasks_per_child is not None,
            "on_worker_loss='replace'": on_worker_loss == REPLACE,
            "kill_on_cancel=True": kill_on_cancel,
            "memory": memory is not None,
            "memory_total": memory_total is not None,
            f"spares={spares}": spares > 0,
        }
        if warm is not None:
            from corefutures_process._warm_option import check_warm

            warm, mp_context = check_warm(warm, mp_context)
        self._cf_set_context(mp_context, [option for option, given in replacing.items() if given])
        self._cf_serializer = serializer
        self._cf_forwards_logs = forward_logs
        self._cf_launcher_options: dict[str, Any] = {
            "inner_threads": inner_threads, "kill_tree": kill_tree, "warm": warm,
        }  # fmt: skip
        self._cf_pool_options: dict[str, Any] = {
            "on_loss": on_worker_loss,
            "at_exit": at_exit,
            "kill_on_cancel": bool(kill_on_cancel),
            "spares": spares,
        }
        self._cf_limiter_options = (max_pending, when_full, self._max_workers)
        if slots is not None:
            self._cf_set_slots(slots, when_full, _SLOT_VARIABLES)
        self._processes: dict[int, BaseProcess] = {}  # type: ignore[assignment]
        if warm is not None and sys.platform != "win32":
            from corefutures_process._template import template_for

            template_for(warm, inner_threads)  # what can't be imported is told now
        self._cf_begin()

    def _cf_make_pool(self) -> WorkerPool:
        from corefutures_pools.workers.pool import PoolOptions
        from corefutures_pools.workers.result_decoding import ResultDecoder
        from corefutures_pools.workers.transport import supports_shared_queue
        from corefutures_process._launcher import NOT_READY_HINT, ProcessLauncher
        from corefutures_process._worker_process import make_encoder

        logs = None
        if self._cf_forwards_logs:
            from corefutures_pools.workers.logging.receiver import LogReceiver

            logs = LogReceiver(self._max_workers if self._cf_forks else 1, "process pool")
        self._cf_launcher = ProcessLauncher(
            self._mp_context,
            self._processes,
            self._initializer,
            self._initargs,
            self._max_tasks_per_child,
            serializer=self._cf_serializer,
            logs=logs,
            hint=self._cf_hint,
            **self._cf_launcher_options,
        )
        shares_queue = supports_shared_queue(self._max_workers + self._cf_pool_options["spares"])
        encode: Any = make_encoder(self._cf_serializer, memfds=shares_queue)
        if self._cf_carried is not None:
            from corefutures_pools.context import ContextEncoder

            encode = ContextEncoder(encode, self._cf_carried)
        remote_traceback: Any = _standard._RemoteTraceback
        options = PoolOptions(
            self._max_workers,
            BrokenProcessPool,
            prestart=self._cf_forks,
            not_ready_hint=f"{NOT_READY_HINT} {self._cf_hint}".rstrip(),
            **self._cf_pool_options,
        )
        parts: dict[str, Any] = {
            "launcher": self._cf_launcher,
            "encode": encode,
            "decoder": ResultDecoder(pickle.loads, encode, remote_traceback, self._cf_hint),
            "limiter": self._cf_make_limiter(),
            **self._cf_make_limits(),
            "logs": logs,
        }
        if sys.platform == "linux" and shares_queue:
            from corefutures_pools.workers.shared_queue.descriptor_channel import PoolDescriptorChannel
            from corefutures_pools.workers.shared_queue.pool import SharedQueuePool

            return SharedQueuePool(options, make_channel=PoolDescriptorChannel, **parts)
        from corefutures_pools.workers.pipes.pool import PipePool
        from corefutures_pools.workers.transport import connection_pair

        return PipePool(options, make_pair=connection_pair, **parts)

    def _cf_make_limits(self) -> dict[str, Any]:
        """Return what grants slots and keeps memory limits in a new pool: its parts `slots` and `memory`."""
        if self._cf_memory is None:
            return {"slots": self._cf_make_scheduler()}
        from corefutures_pools.workers.memory_limits import MemoryLimit  # here for start-up time only

        memory = MemoryLimit(*self._cf_memory)
        if self._cf_memory[1] is None:
            return {"slots": self._cf_make_scheduler(), "memory": memory}
        from corefutures_pools.slots import NO_SLOTS, SlotScheduler, SlotSet  # here for start-up time only

        slots, most = self._cf_slots or SlotSet(NO_SLOTS, {}), self._max_workers
        scheduler = SlotScheduler(slots, lambda running: running < most and memory.admits())
        memory.on_look = scheduler.look_again
        return {"slots": scheduler, "memory": memory}

    def _cf_memory_limits(self, memory: Any, total: Any) -> tuple[int | None, int | None, Callable[[int], int]] | None:
        """Check the options `memory` and `memory_total`; return the bytes, and what measures them.

        Raises:
            TypeError: One is no size.
            ValueError: One can't be read, or is not positive.
            UnsupportedError: The memory of a process can't be measured here.
        """
        if memory is None and total is None:
            return None
        from corefutures_pools.workers.memory_limits import checked_size, find_meter  # here for start-up time only

        memory = None if memory is None else checked_size("memory", memory)
        total = None if total is None else checked_size("memory_total", total)
        measure = find_meter()
        if measure is None:
            from corefutures import UnsupportedError

            raise UnsupportedError(
                "memory= needs to measure the memory of processes, which takes psutil on this platform: pip install"
                " psutil"
            )
        return memory, total, measure

    @property
    def _cf_forks(self) -> bool:
        return self._mp_context.get_start_method(allow_none=False) == "fork"

    def _cf_set_context(self, given: object, replacing: list[str]) -> None:
        """Set the context that processes come from.

        Args:
            given: The option `mp_context`.
            replacing: The given options that need to replace workers, which fork can't.

        Raises:
            TypeError: `given` is neither a context nor the name of a start method.
            ValueError: `given` is no start method of this platform, or it is fork and an option needs another one.
        """
        self._cf_hint = ""
        self._cf_may_choose = given is None
        self._mp_context: BaseContext = _context(given, self._max_tasks_per_child is not None)
        if not (replacing and self._cf_forks):
            return
        if given is not None:
            raise ValueError(
                f"{replacing[0]} is incompatible with the 'fork' multiprocessing start method: a process with threads"
                " can't be forked safely to replace a worker; supply a different mp_context, 'forkserver' or"
                " 'spawn', or none."
            )
        self._cf_choose_method(replacing[0])

    def _cf_choose_method(self, wish: str) -> None:
        """Set another start method than the default, fork, for the sake of `wish`, and log it."""
        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        self._mp_context = multiprocessing.get_context(method)
        self._cf_hint = _CHOSEN.format(method, wish)
        from corefutures_pools.future import LOGGER

        LOGGER.info("A process pool was made. %s", self._cf_hint)

    def _cf_begin_limiting(self) -> None:
        if not self._cf_forks:
            return
        if not self._cf_may_choose or self._cf_pool.stats().submitted:
            from corefutures import UnsupportedError
            from corefutures_pools.workers.supervisor import NEEDS_ANOTHER_START

            raise UnsupportedError(NEEDS_ANOTHER_START.format("calls can't have a time limit in this pool"))
        # No call was submitted yet, and the program has not asked for fork: another pool takes this one's place.
        self._cf_choose_method("a time limit")
        sharer = self._cf_pool.give_up_shared()
        self._cf_renew_pool()
        self._cf_pool.take_over_shared(sharer)

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Schedule `fn(*args, **kwargs)` to run in one of the processes.

        The call is serialised at once: later changes to the arguments are not seen. A call that can't be serialised
        fails its own future. Until a worker takes it, a call keeps its serialised arguments in memory. Content of
        256 KiB or more (bytes, NumPy arrays) is kept once for all waiting calls with equal content. If many calls have
        other large arguments, limit the number of waiting calls (`max_pending`, or `buffersize` of `map`), or have the
        workers make or load them once (`initializer`).

        The arguments themselves are released at once if they hold nothing but data. They are kept until the call has
        ended, as by the standard library, if one of them has a finalizer or custom pickling, so that its pickle may
        only refer to a resource: a manager's proxy, shared memory, a temporary folder.

        Args:
            fn: What to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call.

        Raises:
            TypeError: `fn` is not callable.
            RuntimeError: The executor has been shut down, or is broken (`BrokenProcessPool`).

        Thread safety: may be called from any thread, signal handler or finaliser.
        """
        if not callable(fn):
            raise not_callable("submit", fn)
        pool = self._cf_pool
        if _StandardPool.submit is not _submit.function or (not pool.calls and _submit.is_recoded()):
            pool.check_open()  # a tool has replaced the method
            if type(fn) is not Seen:
                return _submit.seen(self, ProcessPoolExecutor.submit, fn, args, kwargs)  # type: ignore[no-any-return]
            fn = fn.function  # pyright: ignore[reportFunctionMemberAccess] # a Seen
        return pool.submit(fn, args, kwargs)

    def kill(self, future: Future[Any]) -> bool:
        """Stop a call, even if it runs, by killing its process, and no other call; see `PoolExecutor.kill`."""
        return self._cf_pool.kill(self._cf_pool.control.own(future))

    def terminate_workers(self) -> None:
        """Shut down, cancel waiting calls, and terminate every process at once; running calls fail."""
        self._force_shutdown(operation=_TERMINATE)

    def kill_workers(self) -> None:
        """Shut down, cancel waiting calls, and kill every process at once; running calls fail."""
        self._force_shutdown(operation=_KILL)

    def _force_shutdown(self, operation: str) -> None:
        if operation not in (_TERMINATE, _KILL):
            raise ValueError(f"operation must be {_TERMINATE!r} or {_KILL!r}, not {operation!r}")
        self._cf_pool.stop_workers(operation)

    # Private attributes of the standard library's class that tools read.

    @property
    def _broken(self) -> bool | str:  # type: ignore[override]
        return self._cf_pool.broken_reason or False

    @property
    def _pending_work_items(self) -> dict[int, Any]:  # type: ignore[override]
        return {number: SimpleNamespace(future=future) for number, future in list(self._cf_pool.calls.items())}

    @property
    def _shutdown_lock(self) -> Any:  # type: ignore[override]
        return self._cf_pool.lock

    @property
    def _shutdown_thread(self) -> bool:  # type: ignore[override]
        return self._cf_pool.closing

    @property
    def _executor_manager_thread(self) -> threading.Thread | None:  # type: ignore[override]
        return self._cf_pool.thread

    @property
    def _force_shutting_down(self) -> bool:
        return self._cf_pool.supervisor.forced

    @_force_shutting_down.setter
    def _force_shutting_down(self, value: bool) -> None:
        self._cf_pool.supervisor.forced = value

    def _cf_after_fork_in_child(self) -> None:
        # In a worker the pool is broken: calls that submit calls would start processes without end.
        is_worker = self._cf_launcher.starts_in_this_thread()
        self._processes = {}
        super()._cf_after_fork_in_child()
        if is_worker:
            self._cf_pool.mark_broken(_OWN_WORKER, None)


def _checked_size(max_workers: int | None) -> int:
    check_count("max_workers", max_workers)
    if max_workers is None:
        from corefutures_pools.cpu import usable_processors

        count = usable_processors()
        return min(count, _MOST_ON_WINDOWS) if sys.platform == "win32" else count
    if sys.platform == "win32" and max_workers > _MOST_ON_WINDOWS:
        raise ValueError(f"max_workers must be <= {_MOST_ON_WINDOWS}, not {max_workers}")
    return max_workers


def _check_spares(spares: object, max_workers: int) -> None:
    if isinstance(spares, bool) or not isinstance(spares, int):
        raise TypeError(f"spares must be an integer, not {shown(spares)}")
    if spares < 0:
        raise ValueError(f"spares must be >= 0, not {spares}")
    if sys.platform == "win32" and max_workers + spares > _MOST_ON_WINDOWS:
        raise ValueError(f"max_workers and spares together must be <= {_MOST_ON_WINDOWS}, not {max_workers + spares}")


def _check_tasks(number: int | None) -> None:
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"max_tasks_per_child must be an integer or None, not {shown(number)}")
    if number <= 0:
        raise ValueError(f"max_tasks_per_child must be >= 1, not {number}; None sets no limit")


def _context(given: object, spawns: bool) -> BaseContext:
    """Return the multiprocessing context.

    Args:
        given: The option `mp_context`.
        spawns: Whether the default start method is spawn, as the manual says of `max_tasks_per_child`.

    Raises:
        TypeError: `given` is neither a context nor the name of a start method.
        ValueError: `given` is no start method of this platform.
    """
    methods = multiprocessing.get_all_start_methods()
    if isinstance(given, str):
        if given not in methods:
            raise ValueError(
                f"mp_context must be a multiprocessing context or one of {', '.join(map(repr, methods))}, the start"
                f" methods of this platform, not {shown(given)}"
            )
        return multiprocessing.get_context(given)
    if given is None:
        return multiprocessing.get_context("spawn" if spawns else None)
    if not (hasattr(given, "get_start_method") and hasattr(given, "Process")):
        raise TypeError(
            f"mp_context must be a multiprocessing context, the name of a start method, or None, not {shown(given)}"
        )
    return given  # type: ignore[return-value]
