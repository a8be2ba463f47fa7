"""A headless Chromium, driven through chromedriver's HTTP protocol on loopback, with the standard library only."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
]


def missing() -> str:
    """Why no browser can be driven here; empty if one can."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return ""


class Browser:
    """One browser window."""

    def __init__(self, driver: str, session: str) -> None:
        self._base = f"{driver}/session/{session}"

    def open(self, page: Path, *, width: int = 1200, height: int = 900, dark: bool = False, media: str = "") -> None:
        """Show a file in a window of so many CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})
        _post(f"{self._base}/url", {"url": page.resolve().as_uri()})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a script returns in the page."""
        return _post(f"{self._base}/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, keys: str) -> None:
        """Type keys into what has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        _post(f"{self._base}/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds."""
        found = _post(f"{self._base}/element", {"using": "css selector", "value": selector})
        _post(f"{self._base}/element/{next(iter(found.values()))}/click", {})

    def log(self, kind: str) -> list[Any]:
        """Messages of the ``browser``'s console or ``performance`` events (network requests) since the last call."""
        entries = _post(f"{self._base}/se/log", {"type": kind})
        return [json.loads(e["message"])["message"] for e in entries] if kind == "performance" else entries

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """A command of the DevTools protocol."""
        return _post(f"{self._base}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self, file: Path) -> None:
        """The whole page as PNG."""
        size = self.run("return [document.documentElement.clientWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        file.write_bytes(base64.b64decode(self.devtools("Page.captureScreenshot", options)["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser that ends with the block."""
    process = subprocess.Popen(
        ["chromedriver", "--port=0", "--log-level=SEVERE"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        driver = f"http://127.0.0.1:{_port(process)}"
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": FLAGS, "binary": shutil.which("chromium")},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = _post(f"{driver}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        yield Browser(driver, session)
        with contextlib.suppress(OSError):
            urllib.request.urlopen(
                urllib.request.Request(f"{driver}/session/{session}", method="DELETE"), timeout=20
            ).close()
    finally:
        process.terminate()
        process.wait(timeout=20)
        assert process.stdout is not None
        process.stdout.close()


def _port(process: subprocess.Popen[str]) -> int:
    """The port that chromedriver says it listens on."""
    assert process.stdout is not None
    begin = time.monotonic()
    while time.monotonic() < begin + 30:
        line = process.stdout.readline()
        if "on port" in line and "successfully" in line:
            return int(line.rsplit("on port", 1)[1].strip(" .\n"))
    raise TimeoutError("chromedriver did not start")


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        return json.loads(answer.read())["value"]
