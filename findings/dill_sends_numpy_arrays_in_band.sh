#!/bin/sh
# dill takes `buffer_callback`, and keeps it for every provider of buffers except the best known: NumPy.
#
# dill presents itself as pickle's functions with more types. Its dumps passes `protocol=5` and `buffer_callback` on to
# the pickler, and a PickleBuffer, or an object that reduces itself to one, does leave the stream that way. For NumPy
# arrays dill has a reducer of its own which takes precedence over the array's and asks it for the old form: the whole
# array is copied into the stream and the callback is never called, not even for arrays inside an object array or
# another object. Nothing fails, so a transport built on out-of-band buffers silently copies each array once more
# with dill, where pickle and cloudpickle send a hundred bytes.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
    dill==0.4.1 cloudpickle==3.1.3 numpy==2.5.5

cat >"$work/provider.py" <<'PY'
import pickle


class Block:
    """Bytes that may leave the stream, as the documentation of pickle shows it."""

    def __init__(self, data):
        self.data = bytearray(data)

    def __reduce_ex__(self, protocol):
        return type(self), (pickle.PickleBuffer(self.data),)
PY
cat >"$work/probe.py" <<'PY'
import pickle
import sys

import cloudpickle
import dill
import numpy as np
from provider import Block

SIZE = 80_000
array = np.arange(SIZE // 8, dtype="i8")
nested = np.empty(1, dtype=object)
nested[0] = array
sources = {"PickleBuffer in an object": Block(bytes(SIZE)), "array": array, "array in an object array": nested}
versions = {module.__name__: module.__version__ for module in (dill, cloudpickle, np)}
print(f"Python {sys.version.split()[0]}, {versions}")
print(f"expected: each of the {SIZE} bytes out of band, a stream of a few hundred bytes")
out_of_band = {}
for module in (pickle, cloudpickle, dill):
    for name, source in sources.items():
        buffers = []
        stream = module.dumps(source, protocol=5, buffer_callback=buffers.append)
        loaded = module.loads(stream, buffers=buffers)
        assert type(loaded) is type(source)
        sizes = [buffer.raw().nbytes for buffer in buffers]
        print(f"seen: {module.__name__}, {name}: stream of {len(stream)} bytes, out of band {sizes}")
        assert sizes == [SIZE] and len(stream) < 500 or sizes == [] and len(stream) > SIZE
        out_of_band[module.__name__, name] = bool(sizes)
assert out_of_band == {pair: pair[0] != "dill" or pair[1].startswith("PickleBuffer") for pair in out_of_band}
PY
PYTHONPATH="$work" "$work/venv/bin/python" "$work/probe.py"
