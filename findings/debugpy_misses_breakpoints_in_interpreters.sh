#!/bin/sh
# A breakpoint in a call of InterpreterPoolExecutor never stops, and debugpy reports it as verified.
#
# ThreadPoolExecutor and InterpreterPoolExecutor run calls in threads of the same process, so an editor that is attached
# to that process should stop in either. debugpy answers "verified" for the breakpoint in both programs, the call runs,
# and only the thread stops: the tracing functions belong to the interpreter that started debugpy. Nothing is said.
set -eu

for python in ${PYTHON:-python3.14 python3.15 python3}; do
    command -v "$python" >/dev/null && "$python" -c 'import concurrent.interpreters' 2>/dev/null && break
    python=
done
[ -n "$python" ] || { echo "needs Python 3.14"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check debugpy==1.8.22
cd "$work"

cat >calls.py <<'PY'
def double(number):
    doubled = number * 2
    return doubled
PY
cat >program.py <<'PY'
import concurrent.futures
import sys

import calls

if __name__ == "__main__":
    with getattr(concurrent.futures, sys.argv[1])(1) as pool:
        print(pool.submit(calls.double, 21).result(), flush=True)
PY

"$work/venv/bin/python" - <<'PY'
import json
import os
import socket
import subprocess
import sys
import time
from importlib.metadata import version


def debugged(pool):
    """Runs the program with a breakpoint in line 2 of calls.py: is it verified, how often does it stop, what is printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = ["-m", "debugpy", "--listen", f"127.0.0.1:{port}", "--wait-for-client"]
    program = subprocess.Popen(
        [sys.executable, "-X", "frozen_modules=off", *listen, "program.py", pool], stdout=subprocess.PIPE, text=True
    )
    for _ in range(200):
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=60)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    sent = 0

    def send(command, **arguments):
        nonlocal sent
        sent += 1
        body = json.dumps({"seq": sent, "type": "request", "command": command, "arguments": arguments}).encode()
        connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    verified, stops = None, 0
    send("initialize", adapterID="python", clientID="editor", pathFormat="path")
    send("attach", justMyCode=False)
    received = connection.makefile("rb")
    while line := received.readline():
        received.readline()
        message = json.loads(received.read(int(line.split(b":")[1])))
        if message.get("command") == "setBreakpoints":
            verified = message["body"]["breakpoints"][0]["verified"]
        match message.get("event"):
            case "initialized":
                send("setBreakpoints", source={"path": os.path.abspath("calls.py")}, breakpoints=[{"line": 2}])
                send("configurationDone")
            case "stopped":
                stops += 1
                send("continue", threadId=message["body"]["threadId"])
            case "terminated":
                break
    received.close()
    connection.close()
    return verified, stops, program.communicate(timeout=60)[0].strip()


print(f"Python {sys.version.split()[0]}, debugpy {version('debugpy')}")
print("expected: the breakpoint stops once with either pool, or is not verified")
seen = {pool: debugged(pool) for pool in ("ThreadPoolExecutor", "InterpreterPoolExecutor")}
for pool, (verified, stops, printed) in seen.items():
    print(f"seen: {pool}: verified {verified}, stops {stops}, printed {printed}")
assert seen["ThreadPoolExecutor"] == (True, 1, "42")
assert seen["InterpreterPoolExecutor"] == (True, 0, "42")
PY
