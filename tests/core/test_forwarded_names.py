"""Names of the users' door that other distributions add: they resolve, or say which distribution is missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

import corefutures

NAMES = sorted(corefutures._FORWARDED)


@pytest.mark.parametrize("name", NAMES)
def test_a_forwarded_name_is_the_one_of_its_distribution(name: str) -> None:
    module = corefutures._FORWARDED[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed here")
    assert getattr(corefutures, name) is getattr(importlib.import_module(module), name)
    assert name in corefutures.__all__
    assert name in dir(corefutures)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_whose_distribution_is_not_installed_says_which(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = corefutures._FORWARDED[name]
    distribution = module.replace("_", "-")
    monkeypatch.delitem(vars(corefutures), name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)  # as if it could not be found
    with pytest.raises(
        ModuleNotFoundError, match=f"corefutures.{name} comes with the distribution {distribution}, "
    ) as raised:
        getattr(corefutures, name)
    assert raised.value.name == module
    assert "install it with: pip install " in str(raised.value)
    assert name not in vars(corefutures)


def test_what_a_distribution_fails_to_import_is_not_taken_for_its_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("corefutures_monitor", reason="corefutures-monitor is not installed here")
    monkeypatch.delitem(vars(corefutures), "trace", raising=False)
    for name in [name for name in sys.modules if name.startswith("corefutures_monitor")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "json", None)
    with pytest.raises(ModuleNotFoundError, match="json") as raised:
        _ = corefutures.trace
    assert raised.value.name == "json"
