"""The backend describes itself and its requirements without importing Dask."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from corefutures import BackendUnavailableError, create_executor, get_backend

HERE = importlib.util.find_spec("distributed") is not None


@pytest.mark.skipif(HERE, reason="needs an environment without the capability to import distributed")
def test_without_distributed_it_is_unavailable_and_says_why() -> None:
    with pytest.raises(BackendUnavailableError, match="distributed"):
        create_executor("dask")


def test_with_nothing_to_import_it_is_unavailable_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailableError, match="distributed"):
        create_executor("dask")


@pytest.mark.skipif(not HERE, reason="needs the capability to import distributed")
def test_describing_it_imports_no_dask() -> None:
    import subprocess

    program = "import sys, corefutures; b = corefutures.get_backend('dask'); assert 'distributed' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=50)
    capabilities = get_backend("dask").capabilities
    assert capabilities.remote
    assert capabilities.survives_worker_loss
    assert not capabilities.kills_running
