"""`RayExecutor`: the executor on Ray.

Touches the toolkit. Guarantees: options are checked before Ray is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from corefutures_pools.engines.executor import EngineExecutor
from corefutures_pools.options import check_count, check_initializer, check_text, shown
from corefutures_ray._plugin import corefutures_backend

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds of work in a measured chunk: some ten round trips.
_CHUNK_SECONDS: Final = 0.02


class RayExecutor(EngineExecutor):
    """Runs calls as tasks of Ray.

    A program that is connected to Ray uses that connection, which stays. Otherwise the executor connects, or starts Ray
    on this machine, and the last executor ends that.

    Args:
        max_workers: How many calls run at once, at most; None for as many as Ray has CPUs.
        initializer: Called in each worker process before its first call. If it fails, the executor is broken.
        initargs: The arguments for `initializer`.
        address: The address of a cluster, such as "auto" or "ray://head:10001"; None for `RAY_ADDRESS`
            of the environment, or else Ray on this machine.
        cpus: The CPUs that each call takes of what Ray has; None for 1, and on this machine for none: there
            `max_workers` is the limit.
        gpus: The GPUs that each call takes; Ray sets CUDA_VISIBLE_DEVICES.
        resources: The other resources that each call takes, as Ray counts them: {"licence": 1}.
        runtime_env: Ray's description of what the workers need, such as packages.
        init: More options of `ray.init`, by their names: {"log_to_driver": False}.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument has a value that makes no sense, or no effect.
        BackendUnavailableError: There is no Ray at the address, or it does not start.

    Thread safety: every method may be called from any thread.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        address: str | None = None,
        cpus: float | None = None,
        gpus: float | None = None,
        resources: Mapping[str, float] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        check_count("max_workers", max_workers)
        initargs = check_initializer(initializer, initargs)
        if address is not None:
            check_text("address", address)
        for name, amount in (("cpus", cpus), ("gpus", gpus)):
            if amount is not None and (isinstance(amount, bool) or not isinstance(amount, (int, float))):
                raise TypeError(f"{name} must be a number or None, not {shown(amount)}")
            if amount is not None and not amount >= 0:
                raise ValueError(f"{name} must be >= 0, not {shown(amount)}")
        for name, mapping in (("resources", resources), ("runtime_env", runtime_env), ("init", init)):
            if mapping is not None and not isinstance(mapping, Mapping):
                raise TypeError(f"{name} must be a mapping or None, not {shown(mapping)}")
        from corefutures_ray._engine import RayEngine  # here for start-up time only

        options: dict[str, Any] = {"num_gpus": gpus, "resources": resources, "runtime_env": runtime_env}
        given = {name: value for name, value in options.items() if value is not None}
        engine = RayEngine(max_workers, address, cpus, given, init or {})
        capabilities = corefutures_backend().capabilities
        super().__init__("ray", engine, capabilities, engine.max_workers, initializer, initargs, _CHUNK_SECONDS)
