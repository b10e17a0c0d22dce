"""`corefutures backends`, with plugins that hang, crash, talk and fail."""

from __future__ import annotations

import json
import os
import sys
import textwrap

import pytest

PLUGIN = """
    from corefutures.backend import Backend, hookimpl

    {action}

    @hookimpl
    def corefutures_backend():
        return Backend({name!r}, "concurrent.futures:ThreadPoolExecutor", unavailable_reason={reason!r})
"""


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Installs plugins into a folder that every Python started by the test searches."""
    folder = tmp_path / "site"
    folder.mkdir()
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)

    def install(name, action="", reason=None, distribution=None):
        distribution = distribution or name
        source = textwrap.dedent(PLUGIN).format(name=name, action=textwrap.dedent(action), reason=reason)
        (folder / f"cli_plugin_{distribution}.py").write_text(source, encoding="utf-8")
        info = folder / f"cli_{distribution}-1.0.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: cli-{distribution}\nVersion: 1.0\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        entry = f"[corefutures.backends]\n{name} = cli_plugin_{distribution}\n"
        (info / "entry_points.txt").write_text(entry, encoding="utf-8")

    return install


def states(done):
    return {status["name"]: status for status in json.loads(done.stdout)}


def test_lists_without_loading(run, site):
    site("silent", "raise SystemExit('imported')")
    done = run("backends", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert states(done)["silent"] == {
        "name": "silent",
        "state": "installed",
        "distribution": "cli-silent",
        "version": "1.0",
        "reason": None,
    }
    assert states(done)["thread"]["distribution"] == "corefutures-thread"


def test_table_has_a_line_for_each(run, site):
    site("one")
    site("wanted", distribution="first")
    site("wanted", distribution="second")
    done = run("backends")
    assert done.returncode == 1
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["name", "state", "distribution", "note"]
    assert ["one", "installed", "cli-one", "1.0"] in [line.split() for line in lines]
    (conflict,) = [line for line in lines if line.startswith("wanted")]
    assert "conflicting" in conflict
    assert "cli-first 1.0" in conflict
    assert "cli-second 1.0" in conflict


def test_check_loads_each_in_a_process_of_its_own(run, site):
    site("good", "print('noise'); import sys; print('noise', file=sys.stderr)")
    site("hanging", "import threading; threading.Event().wait()")
    site("crashing", "import os; os._exit(9)")
    site("failing", "import no_such_module_at_all")
    site("elsewhere", reason="this is not a Tuesday")
    site("off")
    done = run("backends", "--check", "--json", "--timeout", "8", env={**os.environ, "COREFUTURES_DISABLE": "off"})
    assert (done.returncode, done.stderr) == (1, "")
    found = states(done)
    expected = {
        "good": ("available", None),
        "thread": ("available", None),
        "hanging": ("broken", "hangs"),
        "crashing": ("broken", "exit status 9"),
        "failing": ("broken", "no_such_module_at_all"),
        "elsewhere": ("unavailable", "this is not a Tuesday"),
        "off": ("disabled", "COREFUTURES_DISABLE"),
    }
    for name, (state, reason) in expected.items():
        assert found[name]["state"] == state
        assert (reason is None) == (found[name]["reason"] is None)
        assert (reason or "") in (found[name]["reason"] or "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows: no sessions, only the process itself is killed")
def test_check_kills_what_a_hanging_plugin_started(start, site, switchboard):
    child = (
        f"import socket; line = socket.create_connection(('127.0.0.1', {switchboard.port})); "
        "line.sendall(b'here'); line.recv(1)"
    )
    start_child = f"import subprocess, sys, threading; subprocess.Popen([sys.executable, '-c', {child!r}]); "
    site("parent", start_child + "threading.Event().wait()")
    process = start("backends", "--check", "--json", "--timeout", "5")
    line = switchboard.answer()
    told, _ = process.communicate(timeout=50)
    reasons = {status["name"]: status["reason"] for status in json.loads(told)}
    assert reasons["parent"] == "it hangs: not loaded within 5 s"
    assert line.recv(1) == b""  # nobody is left who could hold the other end


@pytest.mark.parametrize("timeout", ["0", "-1", "inf", "nan", "soon"])
def test_bad_timeout(run, timeout):
    done = run("backends", "--check", f"--timeout={timeout}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("corefutures backends: ")
    assert len(done.stderr.splitlines()) == 1
