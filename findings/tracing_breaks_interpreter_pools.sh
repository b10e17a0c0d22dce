#!/bin/sh
# Turning on a tracer's support for threads makes every call of an interpreter pool fail.
#
# OpenTelemetry's threading instrumentation and Sentry's threading integration (on by default) both replace
# ThreadPoolExecutor.submit with one that wraps the submitted function in a nested function, to carry the current span
# along. Since Python 3.14 InterpreterPoolExecutor is a subclass of ThreadPoolExecutor and inherits that submit, but a
# nested function can neither be shared with nor pickled for another interpreter. So code that never asked for tracing
# of its pool, submitting a builtin, gets NotShareableError from each future, and `map` fails in the same way. Thread
# pools are fine, and so are process pools, which have a submit of their own.
set -eu

for python in ${PYTHON:-python3.15 python3.14 python3}; do
    command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 14))' && break
    python=
done
[ -n "$python" ] || { echo "needs Python 3.14 or newer"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    opentelemetry-instrumentation-threading==0.66b1 opentelemetry-instrumentation==0.66b1 opentelemetry-api==1.45.1 \
    sentry-sdk==2.75.0

cat >"$work/probe.py" <<'PY'
import sys
from concurrent.futures import InterpreterPoolExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.interpreters import NotShareableError
from importlib.metadata import version


def outcome(pool_class):
    with pool_class(1) as pool:
        try:
            return pool.submit(abs, -3).result()
        except NotShareableError as error:
            return error


def mapped():
    with InterpreterPoolExecutor(1) as pool:
        try:
            return list(pool.map(abs, [-3]))
        except NotShareableError as error:
            return error


def turn_on(tracer):
    if tracer == "opentelemetry-instrumentation-threading":
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor

        ThreadingInstrumentor().instrument()
    else:
        import sentry_sdk

        sentry_sdk.init()  # no address to report to: nothing is sent


if __name__ == "__main__":
    tracer = sys.argv[1]
    print(f"Python {sys.version.split()[0]}, {tracer} {version(tracer)}")
    assert outcome(InterpreterPoolExecutor) == 3, "an interpreter pool works before the tracer is on"
    turn_on(tracer)
    print("  expected: 3 from every kind of pool, as before the tracer was turned on")
    seen = {kind.__name__: outcome(kind) for kind in (ThreadPoolExecutor, ProcessPoolExecutor, InterpreterPoolExecutor)}
    seen["InterpreterPoolExecutor.map"] = mapped()
    for name, result in seen.items():
        said = result if result == 3 else f"{type(result).__name__}: {result}".split(" at 0x")[0]
        print(f"  seen: {name}: {said}")
    assert seen["ThreadPoolExecutor"] == seen["ProcessPoolExecutor"] == 3
    for name in ("InterpreterPoolExecutor", "InterpreterPoolExecutor.map"):
        assert isinstance(seen[name], NotShareableError) and "<locals>.wrapped_f" in str(seen[name]), seen[name]
PY
for tracer in opentelemetry-instrumentation-threading sentry-sdk; do
    "$work/venv/bin/python" "$work/probe.py" "$tracer"
done
