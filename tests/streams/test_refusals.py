"""Executors whose calls can't send items refuse in a sentence that names one that can."""

from __future__ import annotations

from concurrent import futures as standard

import pytest
import stream_calls

import corefutures
from corefutures_pools import PoolExecutor


class Other(PoolExecutor):
    """A pool of another author."""


def refusal(executor: PoolExecutor) -> str:
    with pytest.raises(corefutures.UnsupportedError) as caught:
        executor.stream(stream_calls.numbers, 3)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_pool_that_has_none() -> None:
    assert "Other can't send the items of a generator while it runs" in refusal(Other())
    assert "create_executor('" in refusal(Other())
    with pytest.raises(TypeError):
        Other().stream(None)  # type: ignore[arg-type]


def test_adapted_executors() -> None:
    with standard.ThreadPoolExecutor(1) as pool:
        assert "create_executor('" in refusal(corefutures.adapt(pool))
    with corefutures.ThreadPoolExecutor(1) as ours:
        adapted = corefutures.adapt(ours, capabilities=corefutures.get_backend("thread").capabilities)
        assert "ask the ThreadPoolExecutor that it wraps" in refusal(adapted)
        assert refusal(adapted.options(name="name")) == refusal(adapted)


def test_calls_that_are_tried_again() -> None:
    with corefutures.ThreadPoolExecutor(1) as pool:
        for executor in (pool.options(retries=1), corefutures.retrying(pool)):
            with pytest.raises(corefutures.UnsupportedError, match="ask the executor under this one"):
                executor.stream(stream_calls.numbers, 3)


def test_dask() -> None:
    dask = pytest.importorskip("corefutures_dask", reason="needs the plugin corefutures-dask")
    assert "create_executor('" in refusal(object.__new__(dask.DaskExecutor))


def test_the_capability_is_declared() -> None:
    for name in ("thread", "process", "interpreter", "dask"):
        status = corefutures.backends().get(name)
        if status is not None and status.state in ("available", "installed"):
            try:
                backend = corefutures.get_backend(name)
            except corefutures.BackendUnavailableError:
                continue
            assert backend.capabilities.streams is (name != "dask"), name
