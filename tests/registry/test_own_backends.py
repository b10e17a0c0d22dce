"""The local backends are found without a scan of all metadata, and refused where something speaks against them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import corefutures
from corefutures.backend import Backend
from corefutures.registry import _known as _own_backends, _registry

CREATE = "corefutures.create_executor('thread', max_workers=1).shutdown()"
CLASS = "corefutures.ThreadPoolExecutor(1).shutdown()"


def told_by(program: str, **environment: str) -> str:
    """What a fresh interpreter prints; it is told of folders that this one has on its path."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys, corefutures\n" + program],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def refusal(use: str) -> str:
    return f"try: {use}\nexcept corefutures.BackendError as error: print(type(error).__name__, error)"


@pytest.mark.parametrize("use", [CREATE, CLASS])
def test_the_first_pool_reads_no_metadata_and_no_signature(use):
    heavy = "{'pluggy', 'importlib_metadata', 'importlib.metadata', 'corefutures.registry._registry'}"
    assert told_by(f"{use}\nprint(sorted({heavy} & {{*sys.modules}}))") == "[]"


@pytest.mark.parametrize("use", [CREATE, CLASS])
def test_a_conflict_is_an_error(site, use):
    site.add("thread", distribution="other-threads", version="7.5")
    assert "BackendConflictError" in (told := told_by(refusal(use)))
    assert "other-threads 7.5" in told
    assert "corefutures-thread" in told


def test_other_peoples_backends_do_not_matter(site):
    module = site.add("other", distribution="acme-backends")
    assert told_by(f"{CREATE}\nprint({module!r} in sys.modules, 'pluggy' in sys.modules)") == "False False"


@pytest.mark.parametrize("use", [CREATE, CLASS])
def test_a_disabled_one_is_refused(use):
    assert "BackendDisabledError" in told_by(refusal(use), COREFUTURES_DISABLE="thread,dask")


def test_it_is_disabled_later_too(monkeypatch):
    corefutures.create_executor("thread", max_workers=1).shutdown()
    monkeypatch.setenv("COREFUTURES_DISABLE", "thread")
    with pytest.raises(corefutures.BackendDisabledError):
        corefutures.create_executor("thread")
    monkeypatch.delenv("COREFUTURES_DISABLE")
    corefutures.create_executor("thread", max_workers=1).shutdown()


def test_one_of_another_version_is_left_to_the_registry():
    assert _own_backends.own_class("thread", corefutures.__version__) is corefutures.ThreadPoolExecutor
    found, _own_backends.found_classes["thread"] = _own_backends.found_classes.pop("thread"), None
    try:
        assert _own_backends.own_class("thread", "0.0.7") is None
    finally:
        _own_backends.found_classes["thread"] = found


def test_what_was_registered_by_hand_takes_its_place(monkeypatch):
    monkeypatch.setattr(_registry, "REGISTRY", _registry.Registry())
    corefutures.create_executor("thread", max_workers=1).shutdown()
    corefutures.register_backend(Backend("thread", "concurrent.futures:ThreadPoolExecutor"), replace=True)
    with corefutures.create_executor("thread", max_workers=1) as executor:
        assert type(executor).__module__ == "concurrent.futures.thread"
    assert type(executor) is corefutures.ThreadPoolExecutor


def test_one_that_was_used_is_listed_as_available():
    assert told_by(f"{CREATE}\nprint(corefutures.backends()['thread'].state)") == "available"


def test_an_unreadable_folder_and_an_archive_on_the_path_spoil_nothing(tmp_path):
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"PK\x05\x06" + bytes(18))
    program = f"sys.path[:0] = [{str(archive)!r}, {str(tmp_path / 'nowhere')!r}]\n{CREATE}\nprint('created')"
    assert told_by(program) == "created"


@pytest.mark.parametrize("name", ["thread", "process", "concurrent.futures:ProcessPoolExecutor"])
def test_an_unknown_option_is_named_without_asking_each_time(name):
    with pytest.raises(TypeError, match=r"no option 'max_worker'; did you mean 'max_workers'\?"):
        corefutures.create_executor(name, max_worker=1)
