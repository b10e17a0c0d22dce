"""Run the programs and commands on the pages: README.md, those of the distributions, docs/. One process for each block.

A `python` block is run, or becomes a file of its page if it has a `title="name.py"`. A `toml` block with entry points
makes the page's files an installed distribution. A `text` block right after another block is the expected output. In
a `console` block each `$ ` line is run, and the lines after it are the expected output. Output that differs from run
to run is matched by a comment `<!-- in general: … -->` after the block, in which `...` stands for anything.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("p*/*/README.md"), *ROOT.glob("docs/**/*.md")])
LINKING = [*PAGES, ROOT / "CONTRACT.md", ROOT / "CHANGELOG.md", ROOT / "survey" / "README.md"]
FENCE = re.compile(r"^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$", re.M | re.S)
GENERAL = re.compile(r"\s*<!-- in general:\n(?P<text>.*?)-->", re.S)
LIMIT = 300  # seconds: `make demo` is the longest command shown
INSTALLING = "tests/packaging/test_distributions.py does it, in an environment of its own"
NOT_RUN = {
    "make test": "it is what runs this test",
    "pip install . ./packages/pools ./packages/tools ./packages/conformance ./plugins/thread ./plugins/process"
    " ./plugins/interpreter": INSTALLING,
    "make dist": INSTALLING,
    "pip install --find-links dist 'corefutures[all]'": INSTALLING,
    "mpiexec -n 5 python -m mpi4py.futures program.py": "plugins/mpi/tests run such programs where MPI is installed",
    "pyinstaller program.py": "the program is the reader's, and PyInstaller is not in every environment of the tests",
}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    prints: str | None
    general: str | None
    """What is printed, whatever the day."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    source = page.read_text(encoding="utf-8")
    fences = list(FENCE.finditer(source))
    for fence, following in zip_longest(fences, fences[1:]):
        adjacent = following and not source[fence.end() : following.start()].strip()
        shown = following if adjacent and following["language"] == "text" else None
        general = GENERAL.match(source, (shown or fence).end())
        yield Block(
            page=page,
            line=source.count("\n", 0, fence.start()) + 1,
            language=fence["language"],
            title=fence["title"],
            text=fence["text"],
            prints=shown["text"] if shown else None,
            general=general["text"] if general else None,
        )


ALL = [block for page in PAGES for block in blocks(page)]


def install_files(page: Path, folder: Path) -> None:
    """Writes the titled files of the page into `folder`, as a distribution if a block says they are one."""
    for block in blocks(page):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
        project = tomllib.loads(block.text).get("project", {}) if block.language == "toml" else {}
        if "entry-points" in project:
            name, version = project["name"], project.get("version", "1.0")
            information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            lines = [
                line
                for group, entries in project["entry-points"].items()
                for line in [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
            ]
            (information / "entry_points.txt").write_text("\n".join(lines) + "\n")


def environment(cwd: Path) -> dict[str, str]:
    """The environment of a command: this interpreter first on PATH, what lies in its folder importable."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    return inherited | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(cwd),
        "PYTHONIOENCODING": "utf-8",
        # make uses the environment that runs this test, and makes no other
        "PYTHON": sys.executable,
        "VENV": sys.prefix,
        "COREFUTURES_DEMO_EVERY": "8",  # `make demo` on all modules takes a minute: `make certify` does that
    }


def run(command: str | list[str], cwd: Path) -> str:
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT - 20,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def assert_prints(expected: str, printed: str) -> None:
    checker, options = doctest.OutputChecker(), doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    example = doctest.Example("", expected)
    assert checker.check_output(expected, printed, options), checker.output_difference(example, printed, options)


def assert_shows(block: Block, shown: str, printed: str) -> None:
    if block.general is not None:
        assert_prints(block.general, shown)
    assert_prints(shown if block.general is None else block.general, printed)


def commands(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what is shown as its output (empty: not shown)."""
    prompt, *parts = re.split(r"^\$ ", text, flags=re.M)
    assert not prompt.strip(), f"a console block begins with a command after '$ ', not with {prompt!r}"
    return [(head.split("#")[0].strip(), shown) for head, _, shown in (part.partition("\n") for part in parts)]


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("block", [block for block in ALL if block.language == "python" and not block.title], ids=str)
def test_python_blocks_run_and_print_what_is_shown(block: Block, tmp_path: Path) -> None:
    install_files(block.page, tmp_path)
    script = tmp_path / "example.py"
    script.write_text(block.text, encoding="utf-8")
    printed = run([sys.executable, "-W", "error", str(script)], tmp_path)
    if block.prints is not None:
        assert_shows(block, block.prints, printed)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("block", [block for block in ALL if block.language == "console"], ids=str)
def test_commands_succeed_and_print_what_is_shown(block: Block, tmp_path: Path) -> None:
    install_files(block.page, tmp_path)
    for command, shown in commands(block.text):
        if command in NOT_RUN:
            continue
        printed = run(command, ROOT if command.startswith("make ") else tmp_path)
        if shown.strip():
            assert_shows(block, shown, printed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_says_what_it_is(page: Path) -> None:
    known = {"python", "console", "toml", "text", "yaml"}
    assert [str(block) for block in blocks(page) if block.language not in known] == []
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)


def test_output_is_shown_as_a_reader_would_see_it() -> None:
    """An ellipsis or doctest's mark of an empty line is no output."""
    shown = [(block, text) for block in ALL for text in outputs(block)]
    assert len(shown) > 20
    assert [str(block) for block, text in shown if re.search(r"\.\.\.|<BLANKLINE>", text)] == []


def outputs(block: Block) -> Iterator[str]:
    if block.language == "console":
        yield from (shown for _, shown in commands(block.text))
    elif block.prints is not None:
        yield block.prints


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_lines_of_prose_have_at_most_120_characters(page: Path) -> None:
    prose = GENERAL.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [line for line in prose.splitlines() if len(line) > 120 and not line.startswith(("|", "!["))] == []


#: Words of earlier texts for which docs/glossary.md has the field's terms.
FORMER_WORDS = re.compile(
    r"\b(audience|berth|chair|courier|desk|mourn|parcel|recruiter|roll call|sitter|ticket|turnstile|whoever)s?\b", re.I
)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRACT.md"], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_use_the_terms_of_the_glossary(page: Path) -> None:
    assert FORMER_WORDS.findall(page.read_text(encoding="utf-8")) == []


def anchors(page: Path) -> set[str]:
    """What a link to a part of the page may name: its headings, as GitHub and mkdocs write them, and `id="…"`."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = (re.sub(r"[^\w\- ]", "", heading).strip() for heading in re.findall(r"^#+ (.*)$", prose, re.M))
    return {heading.lower().replace(" ", "-") for heading in headings} | set(re.findall(r'\bid="([^"]+)"', prose))


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    targets = {target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in target}
    missing = []
    for target in sorted(targets):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            missing.append(target)
    assert missing == []


def test_readme_and_index_begin_with_the_same_example() -> None:
    readme, index = (
        next(block for block in blocks(page) if block.language == "python")
        for page in (ROOT / "README.md", ROOT / "docs" / "index.md")
    )
    assert (readme.text, readme.prints) == (index.text, index.prints)


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    assert {page for page in pages - {"index.md"} if f"]({page})" not in index} == set()


def test_the_runner_tells_a_wrong_output(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('```python\nprint("one")\n```\n\n```text\ntwo\n```\n\n```console\n$ echo 1  # one\n1\n```\n')
    python, _, console = blocks(page)
    assert (python.prints, python.line, console.line) == ("two\n", 1, 9)
    assert commands(console.text) == [("echo 1", "1\n")]
    with pytest.raises(AssertionError, match="two"):
        assert_prints("two\n", run([sys.executable, "-c", python.text], tmp_path))
    with pytest.raises(AssertionError, match="exit status"):
        run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
