"""`corefutures interpreters check`: verdicts, what is checked, and bad input; each import is a child process."""

from __future__ import annotations

import json
import os
import sys

import pytest

from corefutures.cli import UsageError
from corefutures_tools._commands.interpreters import main
from corefutures_tools._interpreting.checking import compared
from corefutures_tools._interpreting.probe import modules_in
from corefutures_tools._interpreting.sources import imports, requirements

needs_interpreters = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="needs the capability concurrent.interpreters (Python 3.14)"
)

HERE = "import _interpreters\nhere = _interpreters.get_current()[0] == 0\n"
MODULES = {
    "plain": "def function(): pass\n",
    "refusing": "import _tracemalloc\n",
    "swallowing": "try:\n    import _tracemalloc\nexcept ImportError:\n    pass\n",
    "otherwise": f"{HERE}if here:\n    only_there = 1\n",
    "retyped": f"{HERE}parse = len if here else lambda text: len(text)\n",
    "failing": f"{HERE}assert here\n",
    "crashing": f"{HERE}import os\nif not here:\n    os.abort()\n",
    "leaving": f"{HERE}import os\nif not here:\n    os._exit(3)\n",
    "hanging": f"{HERE}import time\nwhile not here:\n    time.sleep(1)\n",
    "unusable": "import no_such_module_anywhere\n",
    "exiting": "raise SystemExit('a script')\n",
}
VERDICTS = {
    "plain": "loads", "refusing": "refused", "swallowing": "without", "otherwise": "differs", "retyped": "differs",
    "failing": "fails", "crashing": "crashes", "leaving": "crashes", "hanging": "hangs", "unusable": "unusable",
    "exiting": "unusable",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@needs_interpreters
@pytest.mark.timeout(180)
def test_every_verdict(folder, capsys):
    found = {}
    for names, timeout in ((VERDICTS.keys() - {"hanging"}, "60"), (["hanging"], "12")):
        assert main(["check", *sorted(names), "--timeout", timeout, "--json", "report.json", "-j", "4"]) == 1
        report = json.loads((folder / "report.json").read_text())
        found |= {each["module"]: each for each in report["findings"]}
    assert {name: each["verdict"] for name, each in found.items()} == VERDICTS
    assert found["refusing"]["extensions"] == ["_tracemalloc"]
    assert found["swallowing"]["extensions"] == ["_tracemalloc"]
    assert found["otherwise"]["missing"] == ["only_there"]
    assert found["retyped"]["changed"] == ["parse"]
    assert "AssertionError" in found["failing"]["error"]
    if sys.platform != "win32":
        assert "signal 6" in found["crashing"]["error"]
    assert "12 s" in found["hanging"]["error"]
    assert "no_such_module_anywhere" in found["unusable"]["error"]
    output = capsys.readouterr().out
    assert "missing: only_there" in output
    assert "Python {}.{}.{}: 1 loads, 1 without, 2 differs".format(*sys.version_info) in output


@needs_interpreters
def test_a_program(folder, capsys):
    (folder / "main.py").write_text(
        "import plain, refusing\nfrom json import dumps\nraise RuntimeError('it is not run')\n"
    )
    assert imports("main.py") == ["json", "_tracemalloc"]
    assert main(["check", "--program", "main.py", "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(each["module"], each["verdict"]) for each in report["findings"]] == [
        ("json", "loads"), ("_tracemalloc", "refused"),
    ]  # fmt: skip


@needs_interpreters
def test_a_requirements_file(folder, capsys):
    (folder / "more.txt").write_text("not-there==1.0  # nor anywhere\n")
    (folder / "requirements.txt").write_text(
        "-r more.txt\n--index-url https://example.invalid\n\npluggy[x]>=1; python_version > '3'\n"
    )
    assert main(["check", "--requirements", "requirements.txt"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["not-there", "absent"]
    assert lines[2].startswith("pluggy  ")
    assert " loads" in lines[2]


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["six.py", "six-1.0.dist-info/METADATA"], {"six"}),
        (["a/__init__.py", "a/b/__init__.py", "a/c.py", "_c.abi3.so"], {"a", "_c"}),
        (["google/x/__init__.py", "google/x/y.py", "google/_z/_m.abi3.so"], {"google.x", "google._z._m"}),
        (["__editable___x_finder.py", "bin/tool-x.py"], {"__editable___x_finder"}),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="needs the capability to import extension modules named .so")
def test_the_modules_of_a_distribution(files, modules):
    assert set(modules_in(files)) == modules


def test_an_import_that_raises_inside_is_seen():
    base = {"error": None, "kind": None, "types": {}, "warnings": [], "refused": {}, "failed": {}, "extensions": []}
    other = {**base, "failed": {"fast": "no"}}
    assert compared("module", base, base).verdict == "loads"
    assert compared("module", base, other).verdict == "differs"
    assert compared("module", base, other).note == "fast: no"
    assert compared("module", other, other).verdict == "loads"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["check"], "nothing to check"),
        (["check", "no-module"], "is no name of a module"),
        (["check", "--program", "nowhere.py"], "can't be read"),
        (["check", "--requirements", "nowhere.txt"], "can't be read"),
        (["check", "json", "--python", "nowhere/python"], "can't be run"),
    ],
)
def test_bad_input_is_one_sentence(folder, words, text):
    with pytest.raises(UsageError, match=text) as raised:
        main(words)
    assert "\n" not in str(raised.value)


def test_files_that_make_no_sense_are_told(folder):
    (folder / "main.py").write_text("def :\n")
    with pytest.raises(UsageError, match="is no Python"):
        imports("main.py")
    (folder / "requirements.txt").write_text("pluggy\n!!\n")
    with pytest.raises(UsageError, match="line 2"):
        requirements("requirements.txt")


@needs_interpreters
def test_a_module_that_is_not_there_is_bad_input(folder):
    with pytest.raises(UsageError, match="no module 'nowhere_at_all'"):
        main(["check", "nowhere_at_all"])


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="needs a Python without the capability concurrent.interpreters")
def test_an_older_python_is_told(folder):
    with pytest.raises(UsageError, match=r"concurrent\.interpreters"):
        main(["check", "plain"])
