#!/bin/sh
# loky's map accepts any keyword and drops it: a limit on how far it reads ahead, or a misspelled one, does nothing.
#
# loky offers its executors under the interface of concurrent.futures.Executor. The standard library's map names its
# keywords, so that a wrong one is a TypeError, and since Python 3.14 has `buffersize`, which bounds how much of the
# input is read ahead. loky's map collects keywords without looking at what it does not use. Code for 3.14 that passes
# `buffersize` to bound its memory works unchanged with loky, but the input is read whole before the first result (an
# endless input never gives one), and `timeuot=5` is no timeout at all. No error, no warning.
set -eu

for python in ${PYTHON:-python3.14 python3}; do
    command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 14))' && break
    python=
done
[ -n "$python" ] || { echo "needs Python 3.14 or newer"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check loky==3.7.0 cloudpickle==3.1.3

cat >"$work/probe.py" <<'PY'
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import count

import loky

LENGTH = 200


def read_ahead(pool, **keywords):
    """How much of an input of LENGTH was read when the first result is there."""
    read = count()
    items = (-next(read) for _ in range(LENGTH))
    try:
        results = pool.map(abs, items, **keywords)
    except TypeError as error:
        return str(error).split(". ")[0]
    next(results)
    seen = next(read)
    assert sum(1 for _ in results) == LENGTH - 1
    return seen


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(f"Python {sys.version.split()[0]}, loky {loky.__version__}")
    print("expected: with buffersize=2 a few items read ahead (or a TypeError); a TypeError for a keyword that is none")
    seen = {}
    for kind in (ProcessPoolExecutor, loky.ProcessPoolExecutor):
        with kind(1) as pool:
            bounded, misspelled = seen[kind.__module__] = [read_ahead(pool, buffersize=2), read_ahead(pool, timeuot=5)]
        print(f"seen, {kind.__module__}: buffersize=2: {bounded}; timeuot=5: {misspelled}")
    assert seen["concurrent.futures.process"][0] < 10
    assert "unexpected keyword" in seen["concurrent.futures.process"][1]
    assert seen["loky.process_executor"] == [LENGTH, LENGTH]
PY
"$work/venv/bin/python" "$work/probe.py"
