#!/bin/sh
# A hard mask of NumPy is soft after pickling: a task in a process pool writes values that are protected elsewhere.
#
# `numpy.ma` documents a hard mask as one that assignment cannot undo. copy(), copy.copy and copy.deepcopy keep that
# property, and so does a thread pool, which hands over the array itself. Pickling keeps data, mask and fill value but
# not hardness, with no warning and with every protocol. The same task so leaves masked entries alone in a thread pool
# and overwrites and unmasks them in a process pool (or after any save and load by pickle).
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: numpy==2.5.5

cat >"$work/probe.py" <<'PY'
import copy
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np


def measured():
    return np.ma.array([1.0, -999.0, 3.0], mask=[False, True, False], hard_mask=True)


def reset(array):
    array[:] = 0.0
    return array.count()


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}")
    array = measured()
    copies = {"copy()": array.copy(), "copy.copy": copy.copy(array), "copy.deepcopy": copy.deepcopy(array)}
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copies[f"pickle, protocol {protocol}"] = pickle.loads(pickle.dumps(array, protocol))
    print("expected: every copy has a hard mask, and `array[:] = 0.0` leaves 2 valid entries whichever pool runs it")
    hard = {name: bool(made.hardmask) for name, made in copies.items()}
    print(f"seen: hard mask kept: {hard}")
    valid = {}
    for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
        with kind(1) as pool:
            valid[kind.__name__] = int(pool.submit(reset, measured()).result())
    print(f"seen: valid entries after the task: {valid}")
    assert hard == {name: not name.startswith("pickle") for name in copies}
    assert all((made.mask == array.mask).all() for made in copies.values())
    assert valid == {"ThreadPoolExecutor": 2, "ProcessPoolExecutor": 3}
PY
"$work/venv/bin/python" "$work/probe.py"
