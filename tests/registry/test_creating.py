"""From a name or a target to an executor: options, targets, backends registered by hand."""

from __future__ import annotations

import concurrent.futures
import pickle
import sys
import types

import pytest

import corefutures
from corefutures.backend import CONTRACT, Backend, Capabilities, hookimpl

STANDARD = "concurrent.futures:ThreadPoolExecutor"


class Narrow(concurrent.futures.ThreadPoolExecutor):
    """Takes one option only."""

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__(max_workers)


@pytest.fixture
def narrow(registry):
    registry.register(Backend("narrow", Narrow))
    return registry


def test_the_thread_backend_runs_a_call():
    with corefutures.create_executor("thread", max_workers=1) as executor:
        assert isinstance(executor, corefutures.ThreadPoolExecutor)
        assert executor.submit(pow, 2, 10).result(30) == 1024


def test_get_backend_describes():
    backend = corefutures.get_backend("thread")
    assert backend.contract == CONTRACT
    assert backend.capabilities.same_process


class TestOptions:
    def test_reach_the_factory(self, narrow):
        with narrow.create("narrow", {"max_workers": 3}) as executor:
            assert executor._max_workers == 3

    def test_unknown_one_is_named_with_the_valid_ones(self, narrow):
        with pytest.raises(
            TypeError, match=r"no option 'max_worker'; did you mean 'max_workers'\? \(valid: max_workers\)"
        ):
            narrow.create("narrow", {"max_worker": 3})

    def test_a_factory_with_any_options_gets_them(self, registry):
        seen = {}

        def factory(**options):
            seen.update(options)
            return concurrent.futures.ThreadPoolExecutor(1)

        registry.register(Backend("any", factory))
        registry.create("any", {"colour": "red"}).shutdown()
        assert seen == {"colour": "red"}

    def test_wrong_values_get_the_factorys_own_error(self, narrow):
        with pytest.raises(ValueError, match="max_workers"):
            narrow.create("narrow", {"max_workers": 0})

    def test_a_factory_without_a_signature_judges_itself(self, registry):
        registry.register(Backend("odd", type))
        with pytest.raises(TypeError):
            registry.create("odd", {"colour": "red"})


class TestTarget:
    def test_needs_no_registration(self, registry):
        with registry.create(STANDARD, {"max_workers": 1}) as executor:
            assert type(executor) is concurrent.futures.ThreadPoolExecutor

    def test_needs_no_scan(self):
        from corefutures.registry._registry import Registry

        def scan():
            raise AssertionError("looked at the installed distributions")

        with Registry(scan).create(STANDARD, {"max_workers": 2}) as executor:
            assert type(executor) is concurrent.futures.ThreadPoolExecutor
            assert executor._max_workers == 2

    @pytest.mark.parametrize("target", ["a:", ":b", "a:b:c", "a b:c", "a..b:c", "a:1", ":", "a:b-c"])
    def test_malformed(self, registry, target):
        with pytest.raises(ValueError, match=r"package\.module:attr"):
            registry.create(target, {})

    @pytest.mark.parametrize(
        ("target", "phrase"),
        [
            ("no_such_package.module:Pool", "no module 'no_such_package'"),
            ("concurrent.no_such_module:Pool", "no module 'concurrent.no_such_module'"),
            ("concurrent.futures:ThreadPoolExecutr", "did you mean 'ThreadPoolExecutor'"),
        ],
    )
    def test_not_found(self, registry, target, phrase):
        with pytest.raises(corefutures.BackendNotFoundError, match=phrase):
            registry.create(target, {})

    def test_whose_import_fails_is_broken(self, site, registry):
        site.write_plugin("failing_target", "import no_such_thing", name="")
        with pytest.raises(corefutures.BackendBrokenError, match=r"failing_target:Pool.*no_such_thing"):
            registry.create("failing_target:Pool", {})

    def test_not_callable(self, registry):
        with pytest.raises(TypeError, match="'os:sep' is a str"):
            registry.create("os:sep", {})

    def test_that_returns_no_executor(self, registry):
        with pytest.raises(TypeError, match="returned an int, which is no executor"):
            registry.create("os:getpid", {})

    def test_unknown_option(self, registry):
        with pytest.raises(TypeError, match=r"no option 'max_worker'.*valid: max_workers"):
            registry.create("concurrent.futures:ProcessPoolExecutor", {"max_worker": 1})

    def test_keeps_the_error_of_a_backend_behind_it(self, registry, monkeypatch):
        monkeypatch.setenv("COREFUTURES_DISABLE", "thread")
        with pytest.raises(corefutures.BackendDisabledError, match="'thread'"):
            registry.create("corefutures:ThreadPoolExecutor", {})


class TestRegister:
    def test_is_listed_and_used(self, narrow):
        status = narrow.statuses()["narrow"]
        assert (status.state, status.distribution) == ("available", None)
        assert narrow.get("narrow").factory is Narrow

    def test_takes_a_backend_only(self, registry):
        with pytest.raises(TypeError, match="takes a Backend, not 'thread'"):
            registry.register("thread")

    def test_twice_conflicts_unless_replaced(self, narrow):
        other = Backend("narrow", STANDARD)
        with pytest.raises(corefutures.BackendConflictError, match=r"registered before.*replace=True"):
            narrow.register(other)
        assert narrow.get("narrow").factory is Narrow
        narrow.register(other, replace=True)
        assert narrow.get("narrow") is other

    def test_of_an_installed_name_conflicts_unless_replaced(self, site, registry):
        module = site.add("good", version="4.0")
        mine = Backend("good", Narrow)
        with pytest.raises(corefutures.BackendConflictError, match=r"fake-good 4.0"):
            registry.register(mine)
        registry.register(mine, replace=True)
        assert registry.get("good") is mine
        assert module not in sys.modules

    def test_can_be_disabled(self, narrow, monkeypatch):
        monkeypatch.setenv("COREFUTURES_DISABLE", "narrow")
        with pytest.raises(corefutures.BackendDisabledError, match="registered by hand"):
            narrow.get("narrow")

    def test_unavailable_is_listed_as_such(self, registry):
        registry.register(Backend("gpu", Narrow, unavailable_reason="no device"))
        assert registry.statuses()["gpu"].state == "unavailable"
        assert registry.statuses()["gpu"].reason == "no device"

    def test_at_the_users_door(self, monkeypatch):
        from corefutures.registry import _registry

        monkeypatch.setattr(_registry, "REGISTRY", _registry.Registry())
        corefutures.register_backend(Backend("narrow", Narrow))
        with corefutures.create_executor("narrow", max_workers=1) as executor:
            assert isinstance(executor, Narrow)
        assert corefutures.get_backend("narrow").factory is Narrow
        assert corefutures.backends()["narrow"].state == "available"


class TestPoolClass:
    def test_not_installed_names_the_distribution(self, monkeypatch):
        from corefutures.registry import _registry
        from corefutures.registry._discovery import Scan

        monkeypatch.setattr(_registry, "REGISTRY", _registry.Registry(Scan))
        for pool, distribution in (
            ("ThreadPoolExecutor", "corefutures-thread"),
            ("ProcessPoolExecutor", "corefutures-process"),
            ("InterpreterPoolExecutor", "corefutures-interpreter"),
        ):
            with pytest.raises(corefutures.BackendNotFoundError, match=f"{distribution}, which is not inst"):
                getattr(corefutures, pool)
            assert pool not in dir(corefutures)
            assert pool not in corefutures.__all__

    def test_where_it_can_not_run_the_name_is_not_there(self, monkeypatch):
        from corefutures.registry import _registry
        from corefutures.registry._discovery import Scan

        bare = _registry.Registry(Scan)
        bare.register(Backend("interpreter", lambda: None, unavailable_reason="it is too early"))
        monkeypatch.setattr(_registry, "REGISTRY", bare)
        assert not hasattr(corefutures, "InterpreterPoolExecutor")
        assert getattr(corefutures, "InterpreterPoolExecutor", None) is None
        with pytest.raises(corefutures.BackendUnavailableError, match="it is too early") as caught:
            _ = corefutures.InterpreterPoolExecutor
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (corefutures.BackendUnavailableError, str(caught.value))
        for expected in (ImportError, corefutures.BackendUnavailableError):
            with pytest.raises(expected, match="it is too early"):
                from corefutures import InterpreterPoolExecutor  # noqa: F401

    def test_is_the_installed_one(self):
        import corefutures_thread

        assert corefutures.ThreadPoolExecutor is corefutures_thread.ThreadPoolExecutor
        assert "ThreadPoolExecutor" in corefutures.__all__
        assert "ThreadPoolExecutor" in dir(corefutures)

    def test_is_a_class(self, monkeypatch):
        from corefutures.registry import _registry
        from corefutures.registry._discovery import Scan

        bare = _registry.Registry(Scan)
        bare.register(Backend("thread", lambda: None))
        monkeypatch.setattr(_registry, "REGISTRY", bare)
        with pytest.raises(corefutures.BackendBrokenError, match="no pool class"):
            _ = corefutures.ThreadPoolExecutor


class TestDescription:
    @pytest.mark.parametrize(
        ("change", "error", "phrase"),
        [
            ({"name": 3}, TypeError, "name must be a str"),
            ({"name": ""}, ValueError, "name is made of"),
            ({"name": "a:b"}, ValueError, "name is made of"),
            ({"name": "a,b"}, ValueError, "name is made of"),
            ({"name": "a\n"}, ValueError, "name is made of"),
            ({"factory": "concurrent.futures"}, ValueError, "package.module:attr"),
            ({"factory": 3}, TypeError, "factory must be"),
            ({"factory": None}, TypeError, "factory must be"),
            ({"capabilities": {}}, TypeError, "capabilities must be"),
            ({"summary": None}, TypeError, "summary must be"),
            ({"summary": "a\nb"}, ValueError, "one line"),
            ({"contract": "1.0"}, TypeError, "pair of ints"),
            ({"contract": (1.0, 0)}, TypeError, "pair of ints"),
            ({"contract": (True, 0)}, TypeError, "pair of ints"),
            ({"contract": (1,)}, ValueError, "pair of non-negative"),
            ({"contract": (1, -1)}, ValueError, "pair of non-negative"),
            ({"contract": ()}, ValueError, "pair of non-negative"),
            ({"unavailable_reason": 3}, TypeError, "unavailable_reason must be"),
            ({"unavailable_reason": ""}, ValueError, "must say why"),
        ],
    )
    def test_bad_values_are_refused_at_once(self, change, error, phrase):
        with pytest.raises(error, match=phrase):
            Backend(**{"name": "mine", "factory": STANDARD, **change})

    def test_capabilities_are_bools_given_by_name(self):
        with pytest.raises(TypeError, match="pickles must be a bool, not int"):
            Capabilities(pickles=1)
        with pytest.raises(TypeError):
            Capabilities(True)

    def test_is_frozen(self):
        backend = Backend("mine", STANDARD)
        with pytest.raises(AttributeError):
            backend.name = "yours"
        with pytest.raises(AttributeError):
            backend.capabilities.remote = True

    def test_promises_nothing_unless_told(self):
        backend = Backend("mine", STANDARD)
        assert backend.contract is None
        assert backend.capabilities == Capabilities()
        assert not any(vars(backend.capabilities).values())

    def test_the_hook_marker_is_pluggys(self):
        import pluggy

        assert isinstance(hookimpl, pluggy.HookimplMarker)

    def test_the_door_knows_its_names_only(self):
        import corefutures.backend as door

        assert set(door.__all__) <= set(dir(door))
        for name in door.__all__:
            assert getattr(door, name) is not None
        with pytest.raises(AttributeError, match="no attribute 'Backnd'"):
            _ = door.Backnd


class TestWorkerLost:
    @pytest.mark.parametrize(
        ("details", "text"),
        [
            ({}, "a worker was lost"),
            ({"pid": 7, "exitcode": 3}, "process 7.*exited with code 3"),
            ({"worker": "w-1", "exitcode": -9}, "worker w-1.*SIGKILL|worker w-1.*signal 9"),
            ({"exitcode": -4242}, "killed by signal 4242"),
        ],
    )
    def test_tells_how(self, details, text):
        error = corefutures.WorkerLostError(**details)
        with pytest.raises(concurrent.futures.BrokenExecutor, match=text):
            raise error

    def test_survives_pickling(self):
        error = corefutures.WorkerLostError("gone", pid=1, exitcode=-6, worker="w")
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.pid, copy.exitcode, copy.worker) == ("gone", 1, -6, "w")


def test_the_registrys_tables_are_separate(site, registry):
    """A registry sees nothing that was registered with another one."""
    from corefutures.registry._registry import Registry

    other = Registry()
    other.register(Backend("mine", Narrow))
    assert "mine" not in registry.statuses()
    assert isinstance(registry.statuses(), types.MappingProxyType)


class TestWhatAnotherBackendCan:
    """A refusal names an installed backend that declares the capability."""

    @pytest.fixture
    def bare(self, monkeypatch):
        from corefutures.registry import _registry
        from corefutures.registry._discovery import Scan

        bare = _registry.Registry(Scan)
        monkeypatch.setattr(_registry, "REGISTRY", bare)
        return bare

    @staticmethod
    def refusal():
        from corefutures_pools import PoolExecutor

        with pytest.raises(corefutures.UnsupportedError) as caught:
            PoolExecutor().kill(corefutures.Future())
        return str(caught.value)

    def test_a_strangers_is_named(self, bare):
        bare.register(Backend("weak", Narrow))
        bare.register(Backend("robots", Narrow, Capabilities(kills_running=True)))
        assert (
            self.refusal()
            == "PoolExecutor can't stop a call that runs; create_executor('robots') makes a pool that can"
        )

    def test_ours_is_named_first(self, bare):
        for name in ("robots", "process"):
            bare.register(Backend(name, Narrow, Capabilities(kills_running=True)))
        assert "create_executor('process')" in self.refusal()

    def test_one_that_can_not_run_here_is_not_named(self, bare):
        bare.register(Backend("absent", Narrow, Capabilities(kills_running=True), unavailable_reason="no device"))
        bare.register(Backend("robots", Narrow, Capabilities(kills_running=True)))
        assert "create_executor('robots')" in self.refusal()

    def test_if_none_is_installed_ours_says_how_to_install_it(self, bare):
        assert "create_executor('process')" in self.refusal()
        with pytest.raises(
            corefutures.BackendNotFoundError, match="corefutures-process, which is not installed; install"
        ):
            corefutures.create_executor("process")

    def test_installed_ones_are_asked(self, make_site):
        from corefutures.registry._registry import backend_with

        assert backend_with("kills_running") == "process"
        assert backend_with("shares_memory") == "thread"
        assert backend_with("remote") in ("dask", "mpi", "ray", "slurm", None)
