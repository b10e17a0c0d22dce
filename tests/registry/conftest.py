"""A folder of fake distributions on sys.path, and a registry that has seen nothing yet."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path

import pytest

from corefutures.registry._registry import Registry

_numbers = itertools.count()

GOOD = """
    from corefutures.backend import Backend, Capabilities, hookimpl

    @hookimpl
    def corefutures_backend():
        return Backend({name!r}, {factory!r}, Capabilities(same_process=True), "a fake", (1, 0))
"""

METADATA = "Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"


class Site:
    """A folder for distributions, searched before the folders of sites made earlier."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(
        self,
        name: str,
        plugin: str = GOOD,
        *,
        distribution: str | None = None,
        version: str = "1.0",
        metadata: str | None = METADATA,
        entry_points: str | bytes | None = None,
        factory: str = "concurrent.futures:ThreadPoolExecutor",
    ) -> str:
        """Install a distribution that brings one backend; the name of its plugin module, new each time."""
        distribution = distribution or f"fake-{name}"
        module = f"fake_plugin_{next(_numbers)}"
        self.write_plugin(module, plugin, name=name, factory=factory)
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        if metadata is not None:
            text = metadata.format(distribution=distribution, version=version)
            (info / "METADATA").write_text(text, encoding="utf-8")
        if entry_points is None:
            entry_points = "[corefutures.backends]\n{name} = {module}\n"
        if isinstance(entry_points, str):
            entry_points = entry_points.format(name=name, module=module).encode()
        (info / "entry_points.txt").write_bytes(entry_points)
        return module

    def write_plugin(
        self, module: str, plugin: str, name: str, factory: str = "concurrent.futures:ThreadPoolExecutor"
    ) -> None:
        source = textwrap.dedent(plugin)
        if plugin is GOOD:
            source = source.format(name=name, factory=factory)
        (self.folder / f"{module}.py").write_text(source, encoding="utf-8")


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes sites; the last one made comes first on sys.path."""

    def make() -> Site:
        site = Site(tmp_path / f"site{next(_numbers)}")
        monkeypatch.syspath_prepend(str(site.folder))
        return site

    return make


@pytest.fixture
def site(make_site) -> Site:
    return make_site()


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def good() -> str:
    """The source of a plugin in order."""
    return GOOD
