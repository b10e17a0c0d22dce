"""How a backend is loaded: each way to fail has its error, affects only itself and is not remembered."""

from __future__ import annotations

import sys
import textwrap
import threading
import types

import pytest

import corefutures

HEAD = "from corefutures.backend import Backend, Capabilities, hookimpl\n"


def hook(answer: str, parameters: str = "") -> str:
    return f"{HEAD}\n@hookimpl\ndef corefutures_backend({parameters}):\n    return {answer}\n"


FACTORY = "'concurrent.futures:ThreadPoolExecutor'"

BROKEN = {
    "import error": (
        "import no_such_module_anywhere",
        "ModuleNotFoundError: No module named 'no_such_module_anywhere'",
    ),
    "error while importing": ("raise ValueError('first\\nsecond')", "ValueError: first second"),
    "exit while importing": ("raise SystemExit(3)", "SystemExit: 3"),
    "syntax error": ("def (", "SyntaxError"),
    "no hook": (HEAD, "implements no hook corefutures_backend"),
    "unmarked hook": ("def corefutures_backend(): pass", "implements no hook corefutures_backend"),
    "misspelt hook": (
        hook("1").replace("corefutures_backend", "corefutures_backened"),
        "corefutures_backened",
    ),
    "wrong signature": (hook("1", "config"), "config"),
    "hook raises": (hook("1 / 0"), "ZeroDivisionError"),
    "hook exits": (hook("exit(2)"), "SystemExit"),
    "wrong type": (hook("'thread'"), "returned a str, not a Backend"),
    "nothing": (hook("None"), "implements no hook corefutures_backend|NoneType"),
    "another name": (hook(f"Backend('other', {FACTORY})"), "describes a backend 'other'"),
    "malformed description": (
        hook(f"Backend('bad', {FACTORY}, 'fast')"),
        "capabilities must be a Capabilities",
    ),
}


@pytest.mark.parametrize(("plugin", "phrase"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_says_what_whose_why_and_what_to_do(site, registry, plugin, phrase):
    site.add("bad", plugin, version="3.1")
    site.add("good")
    with pytest.raises(corefutures.BackendBrokenError, match=phrase) as caught:
        registry.get("bad")
    message = str(caught.value)
    assert "backend 'bad' is broken (fake-bad 3.1)" in message
    assert "reinstall or upgrade fake-bad" in message
    assert "\n" not in message
    assert caught.value.__cause__ is not None
    assert registry.get("good").name == "good"
    assert registry.check("bad").state == "broken"


def test_a_failure_is_not_remembered(site, registry, good):
    module = site.add("healing", "1 / 0")
    with pytest.raises(corefutures.BackendBrokenError, match="ZeroDivisionError"):
        registry.get("healing")
    site.write_plugin(module, good, name="healing")
    assert registry.get("healing").name == "healing"


def test_a_loaded_backend_is_loaded_once(site, registry):
    site.add("good")
    assert registry.get("good") is registry.get("good")


def test_the_entry_point_may_name_an_object(site, registry):
    method = textwrap.indent(hook(f"Backend('object', {FACTORY})", "self"), "    ")
    plugin = f"{HEAD}class Plugin:\n{method}\nplugin = Plugin()\n"
    site.add("object", plugin, entry_points="[corefutures.backends]\n{name} = {module}:plugin\n")
    assert registry.get("object").name == "object"


def test_an_interrupt_is_not_a_broken_plugin(site, registry):
    site.add("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.get("slow")


def test_a_conflict_is_an_error_when_the_name_is_used(site, registry):
    first = site.add("wanted", distribution="one", version="1.1")
    site.add("wanted", distribution="two", version="2.2")
    with pytest.raises(corefutures.BackendConflictError) as caught:
        registry.create("wanted", {})
    for phrase in ("backend 'wanted' is conflicting", "one 1.1", "two 2.2", "uninstall all but one"):
        assert phrase in str(caught.value)
    assert first not in sys.modules


def test_a_disabled_backend_is_not_imported(site, registry, monkeypatch):
    module = site.add("good")
    monkeypatch.setenv("COREFUTURES_DISABLE", "good")
    with pytest.raises(corefutures.BackendDisabledError, match=r"fake-good 1.0.*remove it from COREFUTURES_DISABLE"):
        registry.create("good", {})
    assert module not in sys.modules
    monkeypatch.setenv("COREFUTURES_DISABLE", "")
    registry.create("good", {}).shutdown()
    monkeypatch.setenv("COREFUTURES_DISABLE", "good")
    with pytest.raises(corefutures.BackendDisabledError):
        registry.get("good")


@pytest.mark.parametrize("reason", ["'no such device'", "lambda: 'no such device'"])
def test_an_unavailable_backend_says_why(site, registry, reason):
    site.add("here", hook(f"Backend('here', {FACTORY}, unavailable_reason={reason})"))
    for use in (registry.get, registry.factory, lambda name: registry.create(name, {})):
        with pytest.raises(corefutures.BackendUnavailableError, match=r"fake-here 1.0.*no such device; use another"):
            use("here")
    assert registry.check("here").state == "unavailable"
    assert registry.check("here").reason == "no such device"


def test_whether_it_can_run_is_asked_each_time(site, registry, monkeypatch):
    weather = types.ModuleType("weather_of_the_test")
    weather.bad = "rain"
    monkeypatch.setitem(sys.modules, weather.__name__, weather)
    site.add(
        "kite",
        f"import {weather.__name__}\n"
        + hook(f"Backend('kite', {FACTORY}, unavailable_reason=lambda: {weather.__name__}.bad)"),
    )
    with pytest.raises(corefutures.BackendUnavailableError, match="rain"):
        registry.get("kite")
    assert registry.statuses()["kite"].state == "installed"
    weather.bad = None
    assert registry.get("kite").name == "kite"
    assert registry.statuses()["kite"].state == "available"
    weather.bad = "hail"
    with pytest.raises(corefutures.BackendUnavailableError, match="hail"):
        registry.get("kite")


@pytest.mark.parametrize(("reason", "phrase"), [("lambda: 1 / 0", "ZeroDivisionError"), ("lambda: 7", "an int")])
def test_a_wrong_answer_to_whether_it_can_run_is_broken(site, registry, reason, phrase):
    site.add("odd", hook(f"Backend('odd', {FACTORY}, unavailable_reason={reason})"))
    with pytest.raises(corefutures.BackendBrokenError, match=phrase):
        registry.get("odd")


@pytest.mark.parametrize(
    ("contract", "upgrade"), [((99, 0), "corefutures"), ((1, 99), "corefutures"), ((0, 9), "the backend")]
)
def test_another_contract_is_unavailable(site, registry, contract, upgrade):
    site.add("other", hook(f"Backend('other', {FACTORY}, contract={contract})"))
    expected = rf"contract {contract[0]}\.{contract[1]}.*upgrade {upgrade}"
    with pytest.raises(corefutures.BackendUnavailableError, match=expected):
        registry.get("other")


@pytest.mark.parametrize("factory", ["no_such_module_x:Pool", "concurrent.futures:NoSuchPool", "os:sep"])
def test_a_factory_that_cannot_be_imported_is_broken(site, registry, factory):
    site.add("bad", factory=factory)
    assert registry.get("bad").factory == factory
    with pytest.raises(corefutures.BackendBrokenError, match=f"fake-bad 1.0.*its factory {factory}"):
        registry.create("bad", {})
    assert registry.check("bad").state == "broken"


def test_no_lock_is_held_while_a_plugin_is_imported(site, registry, monkeypatch):
    gate = types.ModuleType("gate_of_the_test")
    gate.entered = threading.Event()
    gate.open = threading.Event()
    monkeypatch.setitem(sys.modules, gate.__name__, gate)
    site.add(
        "hanging",
        f"import {gate.__name__} as gate\ngate.entered.set()\ngate.open.wait()\n"
        + hook(f"Backend('hanging', {FACTORY})"),
    )
    site.add("good")
    got = []
    thread = threading.Thread(target=lambda: got.append(registry.get("hanging")))
    thread.start()
    try:
        assert gate.entered.wait(30)
        assert registry.get("good").name == "good"
        assert registry.statuses()["hanging"].state == "installed"
        with pytest.raises(corefutures.BackendNotFoundError):
            registry.get("absent")
    finally:
        gate.open.set()
        thread.join(30)
    assert got[0] is registry.get("hanging")


def test_two_threads_load_the_same_backend_at_once(site, registry, monkeypatch):
    gate = types.ModuleType("barrier_of_the_test")
    gate.both = threading.Barrier(2, timeout=30)
    monkeypatch.setitem(sys.modules, gate.__name__, gate)
    site.add(
        "good",
        f"import {gate.__name__} as gate\n" + hook(f"(gate.both.wait(), Backend('good', {FACTORY}))[1]"),
    )
    got = []
    threads = [threading.Thread(target=lambda: got.append(registry.get("good"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert len(got) == 2
    assert got[0] is got[1]


class TestNotFound:
    def test_is_a_lookup_error_and_a_runtime_error(self, registry):
        with pytest.raises(LookupError) as caught:
            registry.get("absent")
        assert isinstance(caught.value, corefutures.BackendNotFoundError)
        assert isinstance(caught.value, RuntimeError)

    def test_names_what_is_meant(self, site, registry):
        site.add("quicksilver")
        with pytest.raises(corefutures.BackendNotFoundError, match="did you mean 'quicksilver'"):
            registry.get("quicksliver")

    def test_names_what_is_installed(self, site, registry):
        site.add("good")
        with pytest.raises(corefutures.BackendNotFoundError, match=r"\(installed: .*good"):
            registry.get("absent")

    def test_names_the_distribution_to_install(self):
        from corefutures.registry._discovery import Scan
        from corefutures.registry._registry import Registry

        bare = Registry(Scan)
        with pytest.raises(
            corefutures.BackendNotFoundError,
            match=r"comes with corefutures-process, which is not installed; .*pip install .*process.* .installed: none",
        ):
            bare.get("process")
        with pytest.raises(corefutures.BackendNotFoundError, match=r"did you mean 'dask'\? .*pip install .*dask"):
            bare.get("desk")

    def test_points_out_the_form_of_a_target(self, registry):
        with pytest.raises(corefutures.BackendNotFoundError, match=r"'package.module:attr'"):
            registry.get("concurrent.futures.ThreadPoolExecutor")

    @pytest.mark.parametrize("name", [None, 3, b"thread"])
    def test_a_name_is_a_str(self, registry, name):
        for use in (registry.get, lambda name: registry.create(name, {}), registry.factory):
            with pytest.raises(TypeError, match="must be a str"):
                use(name)
