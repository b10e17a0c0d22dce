#!/bin/sh
# A slice of ten rows of an Arrow table is pickled with the million rows that it was cut from.
#
# Slicing in PyArrow copies nothing, so a table is cut into pieces for the tasks of a process pool at no cost. Pickling
# a piece, though, takes its whole buffers along: each task carries the full column, in the stream as well as out of
# band with protocol 5, and a hundred tasks of one hundredth each move a hundred tables. Writing the same slice with
# Arrow's own IPC format sends the ten rows, and so does a slice of Polars, which is built on Arrow's layout, by pickle.
# Nothing shows it but the size: the piece that arrives has ten rows and says so.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && break
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: pyarrow==26.0.1 polars==2.1.0

cat >"$work/probe.py" <<'PY'
import pickle
import sys

import polars
import pyarrow

if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, pyarrow {pyarrow.__version__}, polars {polars.__version__}")
    table = pyarrow.table({"x": pyarrow.array(range(1_000_000))})
    piece = table.slice(0, 10)
    buffers = []
    stream = pickle.dumps(piece, protocol=5, buffer_callback=buffers.append)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, piece.schema) as writer:
        writer.write_table(piece)
    sizes = {
        "the table, pickle": len(pickle.dumps(table)),
        "10 rows, pickle": len(pickle.dumps(piece)),
        "10 rows, pickle with buffers out of band": len(stream) + sum(buffer.raw().nbytes for buffer in buffers),
        "10 rows, Arrow IPC": len(sink.getvalue()),
        "10 rows of Polars, pickle": len(pickle.dumps(polars.from_arrow(table)[:10])),
    }
    print("expected: ten rows of eight bytes are some hundred bytes in each form")
    for form, size in sizes.items():
        print(f"seen: {form}: {size:,} bytes")
    table_size, *pickled, ipc, of_polars = sizes.values()
    assert pickle.loads(pickle.dumps(piece)).num_rows == 10
    assert all(size > 0.99 * table_size > 7_000_000 for size in pickled), sizes
    assert max(ipc, of_polars) < 5_000, sizes
PY
"$work/venv/bin/python" "$work/probe.py"
