#!/bin/sh
# Importing joblib or loky adds two start methods to multiprocessing, for the whole process.
#
# multiprocessing.get_all_start_methods() is documented as the start methods that the platform supports: fork, spawn,
# forkserver. A library that offers them as a choice, or a test that runs once for each, asks that function. loky
# registers its own contexts in multiprocessing's table when it is imported, and joblib imports its copy of loky. So the
# answer depends on what else the program has imported: the same loop runs three times, or five. Processes of such a
# context bring a resource tracker of loky's beside Python's.
set -eu

for python in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
    command -v "$python" >/dev/null && "$python" -c 'import sys; sys.exit(sys.platform == "win32")' && break
    python=
done
[ -n "$python" ] || { echo "needs Python on a platform with fork"; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check joblib==1.6.0 loky==3.7.0 cloudpickle==3.1.3

for library in joblib loky; do
    "$work/venv/bin/python" - "$library" <<'PY'
import importlib
import multiprocessing
import sys

before = set(multiprocessing.get_all_start_methods())
library = importlib.import_module(sys.argv[1])
added = sorted(set(multiprocessing.get_all_start_methods()) - before)
print(f"Python {sys.version.split()[0]}, {library.__name__} {library.__version__}")
print(f"expected: the same start methods after the import: {sorted(before)}")
print(f"seen: these are new: {added}")
assert added == ["loky", "loky_init_main"]
assert multiprocessing.get_context("loky").get_start_method() == "loky"  # and they can be had by name
PY
done
