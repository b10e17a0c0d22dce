"""Programs that gevent or eventlet has patched: pools work as the standard library's do there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.timeout(120)

PATCH = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.parametrize("tool", PATCH)
def test_a_pool_of_threads_runs_calls(run: Callable[..., str], tool: str) -> None:
    program = f"""
        import warnings; warnings.simplefilter("ignore")
        {PATCH[tool]}
        import corefutures as futures

        with futures.ThreadPoolExecutor(2) as executor:
            print(list(executor.map(abs, [-1, -2], timeout=30)))
    """
    assert run(program) == "[1, 2]\n"
