#!/bin/sh
# tblib brings a traceback back from multiprocessing.Pool, but not from ProcessPoolExecutor, its own example.
#
# tblib makes exceptions pickle together with their tracebacks. Its documentation offers, for ProcessPoolExecutor by
# name, a wrapper of the task that prepares the exception at hand with `pickling_support.install(error)` and raises it
# again. ProcessPoolExecutor, though, takes the traceback off the exception in the worker before it pickles it (it sends
# the formatted text instead), so that tblib has nothing left to send, with the wrapper or with `install()` for all: the
# exception that `result()` raises holds frames of the caller only. multiprocessing.Pool pickles the exception as it was
# raised, and there the worker's frames arrive. What reads frames, a debugger or an error reporter, so sees the place of
# the failure with one pool and not with the other. Nothing warns.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tblib==3.2.2

cat >"$work/probe.py" <<'PY'
import multiprocessing
import sys
import traceback
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version

from tblib import pickling_support

pickling_support.install()  # also in the workers, which import this file


def deep():
    raise ValueError("deep inside")


def task():
    deep()


def prepared_task():
    try:
        deep()
    except ValueError as error:
        pickling_support.install(error)
        raise


def frames(call):
    try:
        call()
    except ValueError as error:
        assert "deep" in str(error.__cause__), "the text of the worker's traceback is there with both pools"
        return [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    raise AssertionError("no error")


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, tblib {version('tblib')}")
    print("expected: each traceback ends with the worker's frames, the task and `deep`")
    context = multiprocessing.get_context("spawn")
    for call in (task, prepared_task):
        with context.Pool(1) as pool:
            by_pool = frames(lambda: pool.apply(call))
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            by_executor = frames(lambda: executor.submit(call).result())
        print(f"seen, {call.__name__}, multiprocessing.Pool: {by_pool}")
        print(f"seen, {call.__name__}, ProcessPoolExecutor:  {by_executor}")
        assert by_pool[-2:] == [call.__name__, "deep"]
        assert not {call.__name__, "deep"} & set(by_executor)
PY
"$work/venv/bin/python" "$work/probe.py"
