#!/bin/sh
# frontrun's systematic search (DPOR) passes a program that it fails when the same two workers are listed the other way.
#
# One worker looks at a flag without the lock and then writes under the lock; the other one sets the flag under the lock
# and then reads. If the second worker runs as a whole between the look and the lock of the first one, it misses what
# the first one writes. frontrun says of this search that it covers every meaningfully different interleaving; no bound
# is set on preemptions, and no budget ends. So the verdict should not depend on the order in which the workers are
# listed. With one order the search ends after two executions, `property_holds` True; with the other one it fails.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3}; do
    command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' && break
    python=
done
[ -n "$python" ] || { echo "needs Python 3.11 to 3.14"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: frontrun==0.7.0

cat >"$work/probe.py" <<'PY'
import sys
import threading
from importlib.metadata import version

import frontrun


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.closed = self.entered = False
        self.seen = None


def enter(state):
    if not state.closed:
        with state.lock:
            state.entered = True


def close(state):
    with state.lock:
        state.closed = True
    state.seen = state.entered


def closer_saw_who_entered(state):
    return state.seen or not state.entered


# The schedule itself, by hand.
state = State()
assert not state.closed  # the look of `enter`
close(state)
with state.lock:
    state.entered = True  # the rest of `enter`
assert not closer_saw_who_entered(state)

print(f"Python {sys.version.split()[0]}, frontrun {version('frontrun')}")
print("expected: the same verdict for both orders of the workers, False")
verdicts = []
for workers in ([enter, close], [close, enter]):
    found = frontrun.explore(
        setup=State, workers=workers, invariant=closer_saw_who_entered, preemption_bound=None, detect_io=False
    )
    verdicts.append(found.property_holds)
    names = ", ".join(worker.__name__ for worker in workers)
    print(f"seen, {names}: property_holds {found.property_holds} after {found.num_explored} executions")
assert verdicts == [True, False]
PY
"$work/venv/bin/frontrun" "$work/venv/bin/python" "$work/probe.py"
