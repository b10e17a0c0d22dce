"""`PoolExecutor`: an executor that does more than the manual says, and its views; `ForwardingExecutor`.

Touches the core's `Executor`; `admission` once calls are limited. Guarantees: a pool pays for nothing that it does not
use; what a pool can't do is refused with `UnsupportedError`.
"""

from __future__ import annotations

import os

from corefutures._executor import Executor
from corefutures._options import check_choice, check_seconds, check_text

TYPE_CHECKING = False  # as in `corefutures`: importing a pool's class does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final, ParamSpec, TypeVar, overload

    from corefutures._exceptions import UnsupportedError
    from corefutures._future import Future
    from corefutures_pools.admission import PendingLimiter
    from corefutures_pools.inspection.snapshots import Snapshot
    from corefutures_pools.options import SlotsOption
    from corefutures_pools.sharing import Shared
    from corefutures_pools.slots import Demand, SlotScheduler, SlotSet
    from corefutures_pools.stats import Stats
    from corefutures_pools.streams.stream import Stream

    _P = ParamSpec("_P")
    _T = TypeVar("_T")


_NONE: Final[Mapping[str, str]] = {}


class PoolExecutor(Executor):
    """An executor whose calls can be asked to stop, limited in time, killed, counted and looked into.

    A pool overrides `submit` and `shutdown`, and those of the methods below that it supports; the others refuse.

    Thread safety: every method may be called from any thread.
    """

    # `max_pending` and `when_full`, and what else `make_limiter` takes.
    _cf_limiter_options: tuple[Any, ...] = (None, "block")
    _cf_slots: SlotSet | None = None  # of a pool that has some
    _cf_can_have_slots = False

    def _cf_make_limiter(self) -> PendingLimiter | None:
        """Return the limiter of the calls that wait; None if their number is not limited."""
        if self._cf_limiter_options[:2] == (None, "block"):
            return None
        from corefutures_pools.admission import make_limiter  # here for start-up time only

        return make_limiter(*self._cf_limiter_options)

    if TYPE_CHECKING:  # `typing.overload` is not at hand otherwise

        @overload
        def options(
            self,
            *,
            timeout: float | None = None,
            name: str | None = None,
            slots: Mapping[str, int] | None = None,
        ) -> PoolExecutor: ...

        @overload
        def options(
            self,
            *,
            timeout: float | None = None,
            name: str | None = None,
            slots: Mapping[str, int] | None = None,
            retries: int | None = None,
            retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
            backoff: float | Callable[[Any], float] | None = None,
        ) -> Any: ...

        def options(self, **options: Any) -> Any:
            """Return a view; see below."""

    else:

        def options(
            self,
            *,
            timeout: float | None = None,
            name: str | None = None,
            slots: Mapping[str, int] | None = None,
            retries: int | None = None,
            retry_on: type[BaseException] | tuple[type[BaseException], ...] | None = None,
            backoff: float | Callable[[Any], float] | None = None,
        ) -> Any:
            """Return a view of this executor with options for the calls that are submitted through it.

            Args:
                timeout: Seconds that each call may run. One that runs longer is stopped, and its future fails with
                    `TimeoutError`. Of a call that is tried again, each attempt has that time.
                name: The name of the calls in `repr` and in messages.
                slots: How many slots of which names each call holds while it runs, such as `{"gpu": 1}`: see
                    `corefutures.held_slots`. A call that is tried again gets others for each attempt.
                retries: How often a call that fails is tried again, 3 times if only one of the next two is given.
                retry_on: The exceptions after which a call is tried again: see `corefutures.retrying`.
                backoff: Seconds before the next attempt, or a callable that gives them: see `corefutures.retrying`.

            Returns:
                An executor with the same workers, whose `shutdown` ends none. If calls are tried again, that is what
                `corefutures.retrying` returns.

            Raises:
                TypeError: An option is of the wrong type.
                ValueError: An option makes no sense.
                UnsupportedError: `timeout` is given, and calls can't be stopped here; or `slots`, and there are none.
                ModuleNotFoundError: Calls are to be tried again, and `corefutures-structured` is not installed.
            """
            check_seconds("timeout", timeout, positive=True)
            if name is not None:
                check_text("name", name)
            if timeout is not None:
                self._cf_begin_limiting()
            demand = None if slots is None else self._cf_demand(slots)
            return with_retries(OptionsView(self, timeout, name, slots, demand), retries, retry_on, backoff)

    def _cf_set_slots(self, slots: SlotsOption, when_full: str = "block", variables: Mapping[str, str] = _NONE) -> None:
        """Check the option `slots` of a pool and keep it.

        Args:
            slots: The option, not None.
            when_full: The option of that name.
            variables: The environment variables that tell calls the ids of names.

        Raises:
            TypeError: It is of the wrong type.
            ValueError: It makes no sense.
        """
        from corefutures_pools.slots import SlotSet  # here for start-up time only

        self._cf_slots = SlotSet(slots, variables)
        if when_full == "caller_runs":
            raise ValueError(
                "slots can't be granted to calls that their submitter runs: use another when_full than 'caller_runs'"
            )

    def _cf_make_scheduler(self) -> SlotScheduler | None:
        """Return what grants the slots of a new pool; None if it has none."""
        if self._cf_slots is None:
            return None
        from corefutures_pools.slots import SlotScheduler  # here for start-up time only

        return SlotScheduler(self._cf_slots)

    def _cf_demand(self, slots: Any) -> Demand:
        """Check the option `slots` of `options`.

        Raises:
            TypeError: It is of the wrong type.
            ValueError: It makes no sense, or this pool has no such slots.
            UnsupportedError: No pool of this kind has slots.
        """
        if self._cf_slots is None:
            if not self._cf_can_have_slots:
                raise unsupported(self, "grant slots", "slots")
            raise ValueError("this pool has no slots: make it with slots={'gpu': [0, 1]}, say")
        return self._cf_slots.demand(slots)

    def _cf_begin_limiting(self) -> None:
        """Prepare for a `timeout` of `options`; raise UnsupportedError where calls can't be stopped."""
        raise unsupported(self, "limit how long a call runs")

    def _cf_submit_with(
        self,
        timeout: float | None,
        name: str | None,
        fn: Callable[..., _T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future[_T]:
        """Submit a call for a view: `timeout` is None unless `_cf_begin_limiting` accepts one."""
        future = self.submit(fn, *args, **kwargs)
        future._cf_name = name
        if (observed := getattr(future, "_cf_observed", None)) is not None:
            observed.given_name = name
        return future

    def stream(self, fn: Callable[..., Iterable[_T]], /, *args: Any, buffer: int = 100, **kwargs: Any) -> Stream[_T]:
        """Run a generator function as a call, and return its items while it runs.

        Args:
            fn: The generator function, or another function that returns an iterable.
            *args: Its positional arguments.
            buffer: How many items the generator may be ahead of those that were taken.
            **kwargs: Its keyword arguments, of any names but `buffer`.

        Returns:
            A `Stream`: an iterator over the items. Closing it, leaving it by `with` or dropping it closes the
            generator.

        Raises:
            TypeError: `fn` is not callable, or `buffer` is no int.
            ValueError: `buffer` is not positive.
            UnsupportedError: Calls can't send items here.
            RuntimeError: As of `submit`.
        """
        from corefutures_pools.options import check_count, not_callable  # here for start-up time only

        if not callable(fn):
            raise not_callable("stream", fn)
        check_count("buffer", buffer, optional=False)
        stream = self._cf_stream(self.submit, fn, args, kwargs, buffer)
        stream.executor = self
        return stream

    def _cf_stream(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., Iterable[_T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        buffer: int,
    ) -> Stream[_T]:
        """Do as `stream`, by way of `submit`: this executor's, or that of a view of it."""
        raise unsupported(self, "send the items of a generator while it runs", "streams")

    def share(self, obj: _T) -> Shared[_T]:
        """Send an object to each worker once, however many calls use it.

        Args:
            obj: The object. It is pickled now, once; later changes to it are not seen. Its buffers, such as the content
                of NumPy arrays, are mapped read-only, by all workers together.

        Returns:
            The handle: anywhere in the arguments of calls of this pool, it arrives as the object. Calls must not change
            the object, which later calls in the same worker get as well. `close()`, leaving it by `with`, or dropping
            it frees the object everywhere, once the calls that were submitted with it have ended.

        Raises:
            UnsupportedError: Objects can't be shared here.
            RuntimeError: As of `submit`.
            OSError: There is no memory for it.
            BaseException: Whatever pickling raises.
        """
        raise unsupported(self, "share an object with its workers", "shares_objects")

    def kill(self, future: Future[Any]) -> bool:
        """Stop a call, even if it runs.

        Args:
            future: The call's. If the call waits it is cancelled; if it runs, the future fails with
                `WorkerLostError`.

        Returns:
            Whether the call was stopped; False if it had ended.

        Raises:
            UnsupportedError: Running calls can't be stopped here.
        """
        raise unsupported(self, "stop a call that runs")

    def request_cancel(self, future: Future[Any]) -> bool:
        """Ask a call to stop: in it, `corefutures.cancel_requested()` is true from now on.

        Args:
            future: The call's. If the call waits it is cancelled.

        Returns:
            Whether the call was cancelled or asked; False if it had ended.

        Raises:
            UnsupportedError: Running calls can't be asked here.
        """
        raise unsupported(self, "ask a call to stop", "asks_running")

    def stats(self) -> Stats:
        """Return the numbers of calls that wait, run, and have ended, by their outcomes.

        Raises:
            UnsupportedError: They are not counted here.
        """
        raise unsupported(self, "count its calls", "counts_calls")

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """Return which calls run where, since when and at which line, and which wait.

        Args:
            timeout: Seconds to wait at most for the stacks of workers; a late worker is shown without its stack.

        Raises:
            UnsupportedError: Nothing is known of the workers here.

        Thread safety: may be called from any thread or signal handler, also while the pool hangs.
        """
        raise unsupported(self, "be looked into", "counts_calls")


class ForwardingExecutor(PoolExecutor):
    """An executor that forwards every call to another one; a subclass overrides the methods in which it differs.

    Args:
        executor: The executor that runs the calls.

    Thread safety: as that executor.
    """

    def __init__(self, executor: PoolExecutor) -> None:
        self._cf_target = executor

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """See `Executor.submit`."""
        return self._cf_target.submit(fn, *args, **kwargs)

    def _cf_map(self, submit: Callable[..., Future[Any]], *rest: Any) -> Any:
        return self._cf_target._cf_map(submit, *rest)

    def _cf_stream(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., Iterable[_T]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        buffer: int,
    ) -> Any:
        return self._cf_target._cf_stream(submit, fn, args, kwargs, buffer)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, **options: Any) -> None:
        """Shut down the executor that runs the calls; see there."""
        self._cf_target.shutdown(wait, cancel_futures=cancel_futures, **options)

    def options(self, **options: Any) -> Any:
        """See `PoolExecutor.options`."""
        return self._cf_target.options(**options)

    def share(self, obj: _T) -> Shared[_T]:
        """See `PoolExecutor.share`."""
        return self._cf_target.share(obj)

    def kill(self, future: Future[Any]) -> bool:
        """See `PoolExecutor.kill`."""
        return self._cf_target.kill(future)

    def request_cancel(self, future: Future[Any]) -> bool:
        """See `PoolExecutor.request_cancel`."""
        return self._cf_target.request_cancel(future)

    def stats(self) -> Stats:
        """See `PoolExecutor.stats`."""
        return self._cf_target.stats()

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """See `PoolExecutor.snapshot`."""
        return self._cf_target.snapshot(timeout=timeout)


class OptionsView(ForwardingExecutor):
    """A pool, seen with options for the calls submitted through here: made by `PoolExecutor.options`.

    Its `shutdown` does nothing: the pool is ended where it was made.

    Thread safety: as the pool.
    """

    def __init__(
        self,
        executor: PoolExecutor,
        timeout: float | None,
        name: str | None,
        slots: Any = None,
        demand: Demand | None = None,
    ) -> None:
        super().__init__(executor)
        self._cf_timeout = timeout
        self._cf_name = name
        self._cf_slots_given = slots
        self._cf_demanded = demand

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn(*args, **kwargs)` run by the pool, with the options; see `Executor.submit`."""
        demand = self._cf_demanded
        called: Any = fn if demand is None or not callable(fn) else demand.call(fn)
        return self._cf_target._cf_submit_with(self._cf_timeout, self._cf_name, called, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, **options: Any) -> None:
        """Do nothing: the pool is ended where it was made."""

    def options(
        self, *, timeout: float | None = None, name: str | None = None, slots: Any = None, **retrying: Any
    ) -> Any:
        """Return a view with these options, and this one's where they are not given."""
        return self._cf_target.options(
            timeout=self._cf_timeout if timeout is None else timeout,
            name=self._cf_name if name is None else name,
            slots=self._cf_slots_given if slots is None else slots,
            **retrying,
        )


def with_retries(view: PoolExecutor, retries: Any, retry_on: Any, backoff: Any) -> Any:
    """Return a view of the view whose calls are tried again; the view itself if all three are None."""
    options = {"retries": retries, "retry_on": retry_on, "backoff": backoff}
    given: dict[str, Any] = {option: value for option, value in options.items() if value is not None}
    if not given:
        return view
    import corefutures  # here for start-up time only

    return corefutures.retrying(view, **given)


def unsupported(executor: object, what: str, capability: str = "kills_running") -> UnsupportedError:
    """Return the refusal of what this executor can't do; it names an installed backend that declares the capability."""
    from corefutures._exceptions import UnsupportedError  # here for start-up time only, as is the other one
    from corefutures.registry._registry import backend_with

    kind = type(executor).__name__
    wrapped = getattr(executor, "_cf_adapted", None)
    if isinstance(wrapped, Executor):
        return UnsupportedError(f"{kind} can't {what}: ask the {type(wrapped).__name__} that it wraps")
    backend = backend_with(capability)
    remedy = "no backend can" if backend is None else f"create_executor({backend!r}) makes a pool that can"
    return UnsupportedError(f"{kind} can't {what}; {remedy}")


def check_at_exit(executor: object, at_exit: Any, workers: str | None = None, *, abandons: bool = False) -> None:
    """Check a pool's option `at_exit`.

    Args:
        executor: The pool.
        at_exit: The value.
        workers: What the refusal calls the workers, where they can't be killed.
        abandons: Whether the program can end while calls run.

    Raises:
        ValueError: It is none of the four.
        UnsupportedError: It is "kill", and the workers can't be killed; or "abandon", and calls can't be abandoned.
    """
    check_choice("at_exit", at_exit, ("wait", "cancel", "kill", "abandon"))
    if at_exit == "abandon" and not abandons:
        raise unsupported(executor, "abandon the calls that run at exit", "shares_memory")
    if at_exit == "kill" and workers is not None:
        raise unsupported(executor, f"kill its {workers} at exit")


def unreachable(executor: object) -> TypeError:
    """Return the refusal of an executor that is to be pickled, so that a call elsewhere can submit to it."""
    from corefutures.registry._registry import backend_with  # here for start-up time only

    kind = type(executor).__name__
    backend = None if kind == "ThreadPoolExecutor" else backend_with("shares_memory")
    others = "" if backend is None else f", or use create_executor({backend!r}), whose calls may submit others"
    return TypeError(
        f"{kind} can't be pickled, so a call elsewhere can't reach its pool: have the call return what is to be called"
        f" next, which its caller submits{others}"
    )


#: The environment variable that names a signal, for `dump_on_signal`; whether the program was started with it.
_SIGNAL_VARIABLE = "COREFUTURES_DUMP_SIGNAL"
_signal_named = _SIGNAL_VARIABLE in os.environ


def register_pool(executor: PoolExecutor) -> None:
    """Have `dump` show an executor that has just been made; it is not kept alive."""
    from corefutures._instrumentation import register_for_dump  # here for start-up time only, as is the other one

    register_for_dump(executor)
    if _signal_named:
        from corefutures_pools.inspection.snapshots import follow_variable

        follow_variable(_SIGNAL_VARIABLE)
