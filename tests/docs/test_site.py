"""The site of docs/: its menu, its links, and that reference and tables name everything that there is to name."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import corefutures
import corefutures.backend
import corefutures_pools
from corefutures.cli._finding import commands

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: The reference names these in its text: they are the standard library's own objects or mere values.
IN_WORDS = {
    "FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED", "CancelledError", "InvalidStateError", "TimeoutError",
    "BrokenExecutor",
}  # fmt: skip


@pytest.fixture
def site_pages() -> ModuleType:
    path = ROOT / "tools" / "site_pages.py"
    specification = importlib.util.spec_from_file_location("site_pages", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def entries(menu: Any) -> list[str]:
    if isinstance(menu, str):
        return [menu]
    return [entry for part in (menu.values() if isinstance(menu, dict) else menu) for entry in entries(part)]


def test_the_menu_names_pages_that_exist(site_pages: ModuleType) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not in the free-threaded dependency group")
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = entries(configuration["nav"])
    assert len(named) == len(set(named))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.glob("**/*.md")} | set(site_pages.PAGES.values())
    assert set(named) - pages == set()
    for hook in configuration["hooks"]:
        assert (ROOT / hook).is_file()


def test_pages_that_the_menu_forgot_are_put_at_its_end(site_pages: ModuleType, tmp_path: Path) -> None:
    class Configuration:
        docs_dir = str(tmp_path)
        nav: list[Any] = [{"Home": "index.md"}, {"How to": [{"One": "deep/one.md"}]}]  # noqa: RUF012

    for name in ("index.md", "deep/one.md", "new.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert site_pages.on_config(Configuration).nav[2:] == [{"More": ["new.md"]}]


def test_links_out_of_the_folder_lead_somewhere_on_the_site(site_pages: ModuleType) -> None:
    def led(text: str, folder: str = "docs") -> str:
        found: str = site_pages.with_links(text, folder, "https://example.invalid/r")
        return found

    assert led("[a](../CHANGELOG.md) [b](page.md#x)") == "[a](changelog.md) [b](page.md#x)"
    assert led("[a](../../CONTRACT.md#y)", "docs/deep") == "[a](../contract.md#y)"
    assert led("[a](../README.md#top)") == "[a](https://example.invalid/r/blob/main/README.md#top)"
    assert led("[a](../benchmarks/results)") == "[a](https://example.invalid/r/tree/main/benchmarks/results)"
    assert led("[a](#here) [b](https://example.org/x.md)") == "[a](#here) [b](https://example.org/x.md)"
    assert led("```python\nf[0](../x)\n```") == "```python\nf[0](../x)\n```"


def test_the_way_from_the_standard_library_names_everything_it_has() -> None:
    page = (DOCS / "migrate.md").read_text(encoding="utf-8")
    missing = {name for name in concurrent.futures.__all__ if f"`{name}`" not in page}
    for kind in (concurrent.futures.Future, concurrent.futures.Executor):
        methods = [name for name in vars(kind) if not name.startswith("_")]
        missing |= {f"{kind.__name__}.{name}" for name in methods if f"`{kind.__name__}.{name}`" not in page}
    pool = concurrent.futures.ProcessPoolExecutor
    own = {name for name in vars(pool) if not name.startswith("_")} - {"submit", "map", "shutdown"}
    missing |= {name for name in own if f"`ProcessPoolExecutor.{name}`" not in page}
    assert missing == set()


def test_the_reference_names_every_public_name_of_the_users_door() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("**/*.md"))
    named = set(re.findall(r"^::: corefutures\w*\.(?:[a-z_]+\.)*(\w+)$", pages, re.M))
    words = (DOCS / "reference.md").read_text(encoding="utf-8")
    assert {name for name in corefutures.__all__ if name not in named} - IN_WORDS == set()
    assert {name for name in IN_WORDS if f"`{name}`" not in words} == set()


def test_the_reference_documents_each_name_of_the_authors_doors() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    described = set(re.findall(r"^::: (\S+)$", text, re.M)) | set(re.findall(r"`(\w+)`", text))
    backend = {name for name in corefutures.backend.__all__ if f"corefutures.backend.{name}" not in described}
    assert backend - described == set()
    assert {f"corefutures_pools.{name}" for name in corefutures_pools.__all__} - described == set()


def test_the_reference_shows_each_name_of_the_backend_authors_door_in_a_program() -> None:
    text = (DOCS / "reference.md").read_text(encoding="utf-8")
    imports = re.findall(r"^from corefutures\.backend import (.+)$", text, re.M)
    shown = {name for line in imports for name in line.split(", ")}
    assert set(corefutures.backend.__all__) - shown == set()


def test_the_glossary_names_what_is_in_the_code() -> None:
    sources = [path for root in ("corefutures", "packages", "plugins") for path in (ROOT / root).glob("**/*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    defined = set(re.findall(r"^(?:class |def |(?=[A-Z]+: Final))(\w+)", code, re.M))
    defined.add("hookimpl")  # pluggy's
    rows = re.findall(r"^\| .* \| .* \| (.*) \| .* \|$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.M)
    named = {name for cell in rows for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 30
    assert named - defined == set()


def test_the_page_on_the_command_line_names_every_command() -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    assert [name for name in commands() if f"\n## {name}\n" not in page] == []


def test_the_reference_names_nothing_that_is_not_there() -> None:
    missing = []
    for page in DOCS.glob("**/*.md"):
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.M):
            module, _, name = path.rpartition(".")
            if module == "corefutures_interpreter" and sys.version_info < (3, 14):
                continue  # it is for Python 3.14 and newer
            if name == "SharedQueuePool" and sys.platform != "linux":
                continue  # the kernel's features that it needs are Linux's
            if module == "corefutures_dask" and importlib.util.find_spec("distributed") is None:
                continue
            if module == "corefutures_conformance" and importlib.util.find_spec("pytest") is None:
                continue
            if importlib.util.find_spec(module) is None or not hasattr(importlib.import_module(module), name):
                missing.append(f"{page.name}: {path}")
    assert missing == []


def test_the_architecture_lists_each_distribution_with_its_folder() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w-]+)` \| `(\w+)` \| `([\w/]+)` \|", page, re.M))
    expected = {("corefutures", "corefutures", "corefutures/")}
    for project in [*ROOT.glob("packages/*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]:
        name = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"]
        expected.add((name, name.replace("-", "_"), project.parent.relative_to(ROOT).as_posix()))
    assert rows == expected


def test_the_tree_of_the_architecture_names_files_and_folders_that_exist() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    tree = page.partition("## The tree")[2].partition("```text\n")[2].partition("```")[0]
    missing, folders = [], [""]
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        names = [word for word in line.split() if re.fullmatch(r"\w+(/|\.py)", word)]
        for name in names:
            place = "".join([*folders[1 : depth + 1], name])
            places = [place, re.sub(r"^packages/(\w+)/(.+)$", r"packages/\1/src/corefutures_\1/\2", place)]
            if not any((ROOT / place).exists() for place in places):
                missing.append(place)
        folders = [*folders[: depth + 1], names[0]]
    assert missing == []


def test_the_picture_of_the_architecture_shows_the_layers_of_the_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (
        contract
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract.get("containers") == ["corefutures"]
    )
    layers = [name for layer in contract["layers"] for name in re.findall(r"\w+", layer)]
    picture = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    boxes = re.findall(r'class="part"/>\n<text[^>]*>(\w+)<', picture)
    places = [layers.index(name if name in layers else f"_{name}") for name in boxes]
    assert len(places) >= 7
    assert places == sorted(places)


def test_pictures_are_well_formed_and_fit_light_and_dark_pages() -> None:
    pictures = sorted(DOCS.glob("**/*.svg"))
    assert pictures
    for picture in pictures:
        root = ET.parse(picture).getroot()
        assert root.get("aria-label"), picture
        text = picture.read_text(encoding="utf-8")
        assert "prefers-color-scheme: dark" in text, picture
