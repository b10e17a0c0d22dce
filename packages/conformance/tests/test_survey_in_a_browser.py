"""The survey's page in a browser: it fits a wide and a narrow window, light and dark, and its filters filter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, browser

from tools.survey import html
from tools.survey.__main__ import SURVEY, made

pytestmark = [
    pytest.mark.skipif(browser() is None, reason="no Chromium here"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("survey") / "survey.html"
    file.write_text(made(html.page, SURVEY), encoding="utf-8")
    return file


@pytest.fixture
def opened(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Browser]:
    width, scheme = getattr(request, "param", (1200, "light"))
    with Browser(tmp_path, width=width, height=900) as found:
        found.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        found.open(page)
        yield found


CONTRAST = """(() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
      .map(part => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!colour.endsWith(", 0)") && colour !== "transparent") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = [...document.querySelectorAll("p, a, th, td, .verdict, .says, .level, summary, label, code")];
  return Math.min(...texts.filter(element => element.offsetParent && element.textContent.trim()).slice(0, 400)
    .map(element => {
      const [low, high] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => a - b);
      return (high + .05) / (low + .05);
    }));
})()"""


@pytest.mark.parametrize("opened", [(1200, "light"), (1200, "dark"), (390, "light"), (390, "dark")], indirect=True)
def test_it_fits_and_can_be_read(opened: Browser) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate(CONTRAST) >= 4.5
    assert opened.complaints == []
    assert all(request.startswith("file:") for request in opened.requests)


SHOWN = "[...document.querySelectorAll('#executors tbody tr:not([hidden])')].map(row => row.dataset.executor)"
RULES = "[...document.querySelectorAll('#rules tr[data-text]:not([hidden]) code')].map(code => code.textContent)"


def typed(page: Browser, words: str) -> None:
    page.evaluate(
        f"(() => {{ const field = document.getElementById('words'); field.value = {words!r};"
        " field.dispatchEvent(new Event('input')); })()"
    )


def chosen(page: Browser, name: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const list = document.getElementById({name!r}); list.value = {value!r};"
        " list.dispatchEvent(new Event('input')); })()"
    )


def test_its_filters_choose_executors_and_rules(opened: Browser) -> None:
    everybody, every_rule = opened.evaluate(SHOWN), opened.evaluate(RULES)
    assert {"stdlib-thread", "thread"} <= set(everybody)

    typed(opened, "cancel_wakes_wait_at_once")
    assert opened.evaluate(RULES) == ["cancelling.cancel_wakes_wait_at_once"]
    assert "stdlib-thread" in opened.evaluate(SHOWN)
    assert "thread" not in opened.evaluate(SHOWN), "an executor that keeps the rule"

    typed(opened, "corefutures-thread")
    assert opened.evaluate(SHOWN) == ["thread"]
    typed(opened, "no rule says this")
    assert opened.evaluate(RULES) == []
    assert opened.evaluate("document.querySelector('.nothing').offsetHeight > 0")
    typed(opened, "")
    assert opened.evaluate(SHOWN) == everybody

    chosen(opened, "chapter", "cancelling")
    assert opened.evaluate(RULES) == [name for name in every_rule if name.startswith("cancelling.")]
    assert "thread" not in opened.evaluate(SHOWN)
    chosen(opened, "chapter", "")
    chosen(opened, "capability", "shares_memory")
    assert "stdlib-thread" in opened.evaluate(SHOWN)
    chosen(opened, "capability", "slots")
    assert "thread" in opened.evaluate(SHOWN)
    assert "stdlib-thread" not in opened.evaluate(SHOWN)
    chosen(opened, "capability", "")

    opened.click("input[value=conformant]")
    assert not {"stdlib-thread", "thread"} & set(opened.evaluate(SHOWN))
    opened.click("input[value=conformant]")
    assert opened.evaluate(SHOWN) == everybody


def test_a_rule_that_is_broken_leads_to_the_executor(opened: Browser) -> None:
    opened.click(".chip[href='#stdlib-thread']")
    assert opened.evaluate("location.hash") == "#stdlib-thread"
    assert opened.evaluate("document.querySelector('#stdlib-thread').getBoundingClientRect().top < innerHeight")
