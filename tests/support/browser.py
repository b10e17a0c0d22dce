"""A headless Chromium, spoken to through two pipes: opens a page, clicks, moves the pointer, asks the page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

#: What it may be called, in the order in which it is looked for.
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser() -> str | None:
    """The program, None where there is none that these pipes lead to."""
    if sys.platform == "win32":
        return None
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)


#: The browser reads from descriptor 3 and writes to 4.
_ONWARD = """
import fcntl, os, sys
hears, speaks = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(hears, 3)
os.dup2(speaks, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page in a browser of its own. Every question has the time limit of the test that asks it."""

    def __init__(self, folder: Path, *, width: int = 1100, height: int = 800) -> None:
        program = browser()
        assert program is not None
        hears, self._write = os.pipe()
        self._read, speaks = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ONWARD, str(hears), str(speaks), program, "--headless", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe",
             f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"],
            pass_fds=(hears, speaks), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(hears)
        os.close(speaks)
        self._rest = b""
        self._count = 0
        self._session: str | None = None
        self.complaints: list[str] = []  # what went wrong in the page
        self.requests: list[str] = []  # what it asked for
        try:
            self._attach(width, height)
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _attach(self, width: int, height: int) -> None:
        pages = self.ask("Target.getTargets")["targetInfos"]
        page = next(page["targetId"] for page in pages if page["type"] == "page")
        self._session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        os.close(self._write)  # the end of its pipe ends it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def ask(self, method: str, **parameters: Any) -> Any:
        """Sends a command of the DevTools protocol, and returns its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            answer = self._hear()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, page: Path) -> None:
        """Opens a page, and returns once it has been drawn."""
        self.ask("Page.navigate", url=page.as_uri())
        self.evaluate(
            "new Promise(go => document.readyState === 'complete' ? go() : addEventListener('load', () => go()))"
        )
        self.settle()

    def settle(self) -> None:
        """Returns when what was asked to be drawn has been drawn."""
        self.evaluate("new Promise(go => requestAnimationFrame(() => requestAnimationFrame(() => go())))")

    def evaluate(self, expression: str) -> Any:
        """What an expression of the page is worth."""
        result = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element."""
        found = self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'nearest'}});"
            " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return found[0], found[1]

    def click(self, selector: str) -> None:
        """Clicks an element as a person would."""
        x, y = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)
        self.settle()

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Moves, presses, releases or turns the wheel."""
        button = "left" if kind in ("mousePressed", "mouseReleased") else "none"
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1, **more)

    def picture(self, file: Path) -> None:
        """Saves what is seen."""
        file.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"]))

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        heard: dict[str, Any] = json.loads(message)
        return heard

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
