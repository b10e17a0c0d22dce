#!/bin/sh
# Under freezegun, of one module's four timeouts two still work and two do not.
#
# concurrent.futures takes a timeout in result(), wait(), as_completed() and Executor.map(). freezegun documents that it
# freezes time.monotonic and leaves the module `threading` on real time, which does not tell what becomes of these four.
# Future.result and wait leave the counting to threading and time out as always. as_completed and map compute their
# deadline themselves with time.monotonic, in a module that freezegun does freeze: as_completed waits as long as the
# calls take and never raises TimeoutError, and map's limit for all results together becomes one for each result. A test
# of a timeout written with one of them passes; written with another it never sees the error.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check freezegun==1.5.5

cat >"$work/probe.py" <<'PY'
import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from importlib.metadata import version

from freezegun import freeze_time


def with_result(pool):
    pool.submit(time.sleep, 2).result(timeout=0.5)
    return "no timeout"


def with_wait(pool):
    return "timeout" if wait([pool.submit(time.sleep, 2)], timeout=0.5).not_done else "no timeout"


def with_as_completed(pool):
    list(as_completed([pool.submit(time.sleep, 2)], timeout=0.5))
    return "no timeout"


def with_map(pool):
    list(pool.map(time.sleep, [1, 1, 1], timeout=2))  # 3 s in one thread, each within 2 s
    return "no timeout"


def outcome(way):
    with ThreadPoolExecutor(1) as pool:
        try:
            return way(pool)
        except TimeoutError:
            return "timeout"


WAYS = (with_result, with_wait, with_as_completed, with_map)
print(f"Python {sys.version.split()[0]}, freezegun {version('freezegun')}")
print("expected: all four alike under frozen time, whether that is a timeout or none")
seen = {}
for name, clock in {"real time": contextlib.nullcontext(), "frozen time": freeze_time("2024-01-01")}.items():
    with clock:
        seen[name] = {way.__name__.removeprefix("with_"): outcome(way) for way in WAYS}
    print(f"seen, {name}: {seen[name]}")
assert set(seen["real time"].values()) == {"timeout"}
assert {way for way, result in seen["frozen time"].items() if result == "timeout"} == {"result", "wait"}
PY
"$work/venv/bin/python" "$work/probe.py"
