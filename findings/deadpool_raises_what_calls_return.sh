#!/bin/sh
# Deadpool raises the exceptions that calls return, and puts its own text in the place of their arguments.
#
# Deadpool is a process pool with the interface of concurrent.futures, for calls that may be killed. A call may return an
# exception like any other object: checkers and validators do, and so does asyncio.gather(return_exceptions=True). With
# the standard pool result() returns it, and exception() is None. With Deadpool result() raises it. An exception that a
# call raises does not arrive as it was either: its first argument is replaced by a text with the worker's traceback.
# So the args of an OSError begin with no errno any more, those of a KeyError with no key, and code that reads error.args
# gets a page of text. No warning tells of that.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check deadpool-executor==2026.7.1

cat >"$work/probe.py" <<'PY'
import importlib.metadata
import sys
from concurrent.futures import ProcessPoolExecutor

import deadpool


def find_fault(record):
    return ValueError("no name") if "name" not in record else None


def look_up(key):
    return {"a": 1}[key]


def measure(pool):
    fault = pool.submit(find_fault, {}).exception(30)
    return fault if fault is None else type(fault).__name__, pool.submit(look_up, "b").exception(30).args


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, deadpool-executor {importlib.metadata.version('deadpool-executor')}")
    with ProcessPoolExecutor(1) as pool:
        standard = measure(pool)
    with deadpool.Deadpool(max_workers=1) as pool:
        fault, args = measure(pool)
    print("expected: a returned exception is a result, so that exception() is None; a KeyError has its key as argument")
    print(f"seen: ProcessPoolExecutor: {standard}")
    print(f"seen: Deadpool: {fault}, {len(args)} argument(s), the first one {str(args[0])[:60]!r}")
    assert standard == (None, ("b",)), standard
    assert fault == "ValueError", fault
    assert len(args) == 1, args
    assert "Traceback" in args[0], args
    assert args[0] != "b", args
PY
"$work/venv/bin/python" -W ignore "$work/probe.py"
