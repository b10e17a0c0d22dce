#!/bin/sh
# One HTTP reply has two texts: requests reads it right in the main interpreter and wrongly in an interpreter pool.
#
# charset-normalizer, which requests installs and uses to guess the character set of a reply that names none, ships
# compiled modules that refuse to load in an interpreter of its own (own GIL). requests takes any ImportError there for
# "not installed" and goes on: `import requests` succeeds, and from then on it takes every such reply for UTF-8 and
# replaces what does not fit. That fall-back is meant for an installation without the package; here the package is
# installed. The only sign is one warning at import that speaks of a missing dependency; no call fails. (The pure Python
# wheel, which pip takes where there is no compiled one, is not concerned.)
set -eu

for python in ${PYTHON:-python3.14 python3}; do
    command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 14))' && break
    python=
done
[ -n "$python" ] || { echo "needs Python 3.14 or newer"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    requests==2.34.2 charset-normalizer==3.5.3 urllib3==2.8.0 idna==3.20

cat >"$work/reply.py" <<'PY'
import io
import sys
import warnings


def read(body):
    """What requests makes of a reply whose headers name no character set."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import requests
    reply = requests.Response()
    reply.status_code, reply.raw = 200, io.BytesIO(body)
    return reply.apparent_encoding, reply.text, [str(warning.message) for warning in caught]


def why():
    try:
        import charset_normalizer
    except ImportError as error:
        return str(error)
    return charset_normalizer.__version__
PY
cat >"$work/probe.py" <<'PY'
import sys
from concurrent.futures import InterpreterPoolExecutor
from importlib.metadata import version

import reply

text = "Работник пула читает ответ сервера и считает строки в нём. " * 4
body = text.encode("windows-1251")
versions = {name: version(name) for name in ("requests", "charset-normalizer")}
print(f"Python {sys.version.split()[0]}, {versions}")
here = reply.read(body)
with InterpreterPoolExecutor(1) as pool:
    there = pool.submit(reply.read, body).result()
    reason = pool.submit(reply.why).result()
print("expected: the same text in both interpreters, or an error")
for place, (charset, read, warned) in {"main interpreter": here, "interpreter pool": there}.items():
    print(f"seen, {place}: taken for {charset}, {read[:22]!a}, warnings: {warned}")
print(f"the cause, unseen by the caller: {reason}")
assert here == ("windows-1251", text, [])
assert there[0] == "utf-8" and there[1] != text and there[1].count("\N{REPLACEMENT CHARACTER}") > 50
assert len(there[2]) == 1 and "Unable to find" in there[2][0]
assert "does not support loading in subinterpreters" in reason
PY
PYTHONPATH="$work" "$work/venv/bin/python" "$work/probe.py"
