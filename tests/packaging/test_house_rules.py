"""What holds for every file of the repository: names, docstrings, no trace of the machine it was made on."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN_WORDS = {"util", "utils", "helper", "helpers", "common", "misc"}
#: Metaphors that once stood in the code for terms of the field: docs/glossary.md has the terms.
METAPHORS = {
    "audience", "bell", "berth", "bury", "chair", "condemn", "courier", "crew", "desk", "errand", "hire", "lifeline",
    "lodge", "mourn", "parcel", "recruiter", "sitter", "station", "ticket", "turnstile",
}  # fmt: skip
# written so that this file does not name what it looks for
REGISTRY_HOSTS = r"py[p]i\.org|py[t]honhosted|npm[j]s\.|d[e]b\.debian\.org|crates\.[i]o|proxy\.gola[n]g"
HOMES = r"(?<![\w.])/(?:ho[m]e|Us[e]rs)/\w+/|[A-Z]:\\\\?Us[e]rs\\"


@cache
def repository_files() -> tuple[Path, ...]:
    """Every file git tracks, and every new one that it does not ignore."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a checkout, to know which files belong to the repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, timeout=30,
    ).stdout  # fmt: skip
    return tuple(path for name in listed.split(b"\0") if name and (path := ROOT / os.fsdecode(name)).is_file())


def python_files() -> Iterator[tuple[Path, ast.Module]]:
    for path in repository_files():
        if path.suffix in {".py", ".pyi"}:
            yield path.relative_to(ROOT), ast.parse(path.read_text(encoding="utf-8"))


def lines_that_match(pattern: str) -> list[str]:
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def words(name: str) -> set[str]:
    """`PoolManager`, `pool_manager` -> {pool, manager}."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def is_fixture(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)


def test_no_file_names_a_place_of_this_machine() -> None:
    here = {str(ROOT), os.path.expanduser("~")} - {"/", "~"}
    places = "|".join(rf"(?<![\w.]){re.escape(place)}(?:[/\\]|$)" for place in sorted(here))
    assert lines_that_match(f"{places}|{HOMES}") == []


def test_no_file_names_the_host_of_a_package_registry() -> None:
    configured = {os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL")}
    hosts = {host for url in configured for part in url.split() if (host := urlsplit(part).hostname)}
    assert lines_that_match("|".join([REGISTRY_HOSTS, *map(re.escape, sorted(hosts))])) == []


def test_every_module_says_in_at_most_six_lines_what_it_is() -> None:
    wrong = []
    for path, tree in python_files():
        docstring = ast.get_docstring(tree)
        if docstring is None and tree.body:
            wrong.append(f"{path}: no docstring")
        elif docstring and len(docstring.splitlines()) > 6:
            wrong.append(f"{path}: {len(docstring.splitlines())} lines")
    assert wrong == []


def test_no_module_class_or_fixture_has_a_name_that_tells_nothing() -> None:
    wrong = []
    for path, tree in python_files():
        places = (*path.parts[:-1], path.stem)
        wrong += [f"{path}: module {place}" for place in places if words(place) & FORBIDDEN_WORDS]
        wrong += [
            f"{path}:{node.lineno}: {node.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(node, ast.ClassDef) or is_fixture(node)
            if words(node.name) & FORBIDDEN_WORDS
        ]
    assert wrong == []


def metaphors(line: str) -> set[str]:
    """The metaphors in a line, in any form: `_berths`, `hired`, `Condemned`, `buries`."""
    stems = {word: {word, word.removesuffix("e").removesuffix("y")} for word in METAPHORS}
    endings = {"", "e", "es", "s", "ed", "ing", "er", "y", "ies", "ied"}
    return {
        metaphor
        for word in words(line)
        for metaphor, forms in stems.items()
        if any(word.startswith(stem) and word.removeprefix(stem) in endings for stem in forms)
    } | ({"roll call"} if "roll call" in line.lower() else set())


def test_the_product_speaks_of_what_there_is() -> None:
    wrong = []
    for path in repository_files():
        place = path.relative_to(ROOT)
        is_product = place.parts[0] == "corefutures" or (
            place.parts[0] in ("packages", "plugins") and "src" in place.parts
        )
        if is_product and path.suffix in {".py", ".pyi"}:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                wrong += [f"{place}:{number}: {word}: {line.strip()[:100]}" for word in metaphors(line)]
    assert wrong == []


def test_a_metaphor_is_found_in_any_form() -> None:
    found = [metaphors(line) for line in ("self._berths = hired", "# It mourns, and buries it", "RollCall # roll call")]
    assert found == [{"berth", "hire"}, {"mourn", "bury"}, {"roll call"}]
    assert metaphors("the deskside hirsute stationary chairman") == set()


def test_the_words_of_a_name_are_told_apart() -> None:
    assert words("ThreadPoolManager") == {"thread", "pool", "manager"}
    assert words("_io_helper2") == {"io", "helper2"}
    assert words("HTTPHandler") == {"http", "handler"}
