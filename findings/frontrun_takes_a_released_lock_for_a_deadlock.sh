#!/bin/sh
# frontrun reports a deadlock in a program without one: a thread that waits on a lock for another thread to release it.
#
# The manual of `threading.Lock` says that `release` can be called from any thread, not only from the one that has
# acquired the lock; the standard library's own `Condition` waits so: a waiter acquires a new lock, hands it on, and
# acquires it again. frontrun replaces `threading.Lock` and keeps its last owner; when the owner acquires it again, the
# graph of waiting threads has an edge from the thread to itself, and the first execution ends as a deadlock, without
# the other thread having run. The same hand-off passes if another thread than the waiter has acquired the lock before.
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
        self.published = threading.Semaphore(0)
        self.signal = None
        self.woken = False


def wait(state):
    state.signal = signal = threading.Lock()
    signal.acquire()
    state.published.release()
    signal.acquire()  # until the other thread releases it
    state.woken = True


def wake(state):
    state.published.acquire()
    state.signal.release()


state = State()  # with the real locks
threads = [threading.Thread(target=work, args=(state,), daemon=True) for work in (wait, wake)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(10)
assert state.woken

print(f"Python {sys.version.split()[0]}, frontrun {version('frontrun')}")
print("expected: property_holds True: every order of the two threads wakes the one that waits")
found = frontrun.explore(setup=State, workers=[wait, wake], invariant=lambda state: state.woken, detect_io=False)
explanation = " ".join((found.explanation or "").split())
print(f"seen: property_holds {found.property_holds} after {found.num_explored} executions: {explanation}")
assert found.property_holds is False and "Deadlock" in explanation and "thread 0 -> lock" in explanation
PY
"$work/venv/bin/frontrun" "$work/venv/bin/python" "$work/probe.py"
