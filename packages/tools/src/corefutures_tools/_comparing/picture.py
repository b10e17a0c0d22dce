"""Trials as SVG: a bar for each, shorter is better; readable on light and dark pages.

Pure text; no library, no font and no file from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from corefutures_tools._comparing.measured import LOOP, Trial
from corefutures_tools._comparing.units import duration, times

#: The colours of the backends that have one; also those of the other pictures in docs/.
COLOURS: Final = {LOOP: "#888888", "thread": "#4477aa", "process": "#ee8866", "interpreter": "#44aa77"}
OTHER: Final = "#aa4499"

#: Follows the reader's choice of light or dark.
STYLE: Final = """\
<style>
  svg { background: #ffffff; color: #222222; }
  text { fill: currentColor; }
  .quiet { opacity: 0.7; }
  @media (prefers-color-scheme: dark) { svg { background: #1e2129; color: #e4e4e8; } }
</style>"""

WIDTH: Final = 640
LEFT: Final = 120
LONGEST: Final = 330
ROW: Final = 30
LINE: Final = 92  # characters of the reason in one line


def draw(title: str, trials: Sequence[Trial], recommended: str | None, note: str) -> str:
    """Return the picture of a comparison.

    Args:
        title: What was compared.
        trials: That of the plain loop, and those of the backends.
        recommended: The backend whose row stands out.
        note: The sentence below the bars.

    Returns:
        The text of an SVG file.
    """
    return "\n".join(_lines(title, trials, recommended, note)) + "\n"


def _lines(title: str, trials: Sequence[Trial], recommended: str | None, note: str) -> Iterator[str]:
    notes = _wrapped(note)
    height = 48 + ROW * len(trials) + 18 * len(notes) + 14
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
        f' font-size="13" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}; shorter is better">'
    )
    yield STYLE
    yield f'<text x="16" y="26" font-size="15">{escape(title)} (shorter is better)</text>'
    longest = max((trial.seconds or 0.0 for trial in trials), default=0.0) or 1.0
    for row, trial in enumerate(trials):
        yield from _bar(trial, 44 + ROW * row, longest, chosen=trial.backend == recommended)
    for row, line in enumerate(notes):
        yield f'<text x="16" y="{62 + ROW * len(trials) + 18 * row}" class="quiet">{escape(line)}</text>'
    yield "</svg>"


def _bar(trial: Trial, top: int, longest: float, *, chosen: bool) -> Iterator[str]:
    weight = ' font-weight="bold"' if chosen else ""
    yield f'<text x="{LEFT - 10}" y="{top + 15}" text-anchor="end"{weight}>{escape(trial.backend[-14:])}</text>'
    if trial.seconds is None:
        yield f'<text x="{LEFT}" y="{top + 15}" class="quiet">{escape((trial.error or "no time")[:70])}</text>'
        return
    width = max(1.0, LONGEST * trial.seconds / longest)
    colour = COLOURS.get(trial.backend, OTHER)
    figures = duration(trial.seconds)
    if trial.speedup is not None and trial.backend != LOOP:
        figures += f" ({times(trial.speedup)})"
    if trial.error:
        figures += ", failed later"
    yield f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="20" fill="{colour}"/>'
    yield f'<text x="{LEFT + 6 + width:.1f}" y="{top + 15}"{weight}>{escape(figures)}</text>'


def _wrapped(text: str) -> list[str]:
    import textwrap  # here for start-up time: it compiles expressions

    return textwrap.wrap(text, LINE)
