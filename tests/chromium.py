"""A headless Chromium that tests drive by the DevTools protocol, over a pipe: no port, no driver, no library.

Messages are JSON objects that end with a NUL byte, on the descriptors 3 and 4 of the browser
(--remote-debugging-pipe). https://chromedevtools.github.io/devtools-protocol/ has the methods.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_SECONDS = 120
_KEYS = {"Enter": ("Enter", 13, "\r"), "Tab": ("Tab", 9, ""), "Space": (" ", 32, " "), "End": ("End", 35, ""),
         "ArrowRight": ("ArrowRight", 39, ""), "ArrowDown": ("ArrowDown", 40, ""),
         "Home": ("Home", 36, "")}  # fmt: skip


class Browser:
    """One browser with one page; `errors` are what the page complained about: console, exceptions, violations."""

    def __init__(self, folder: Path) -> None:
        program = next((path for path in map(shutil.which, PROGRAMS) if path), None)
        assert program is not None, "install chromium: .ci/run does"
        command_in, self._write = os.pipe()
        self._read, command_out = os.pipe()
        self._buffer = b""
        self._number = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        script = f'exec 3<&{command_in} 4>&{command_out}; exec "$@"'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, "bash", program, "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--remote-debugging-pipe", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", f"--user-data-dir={folder}", "about:blank"],
            pass_fds=(command_in, command_out), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        os.close(command_in)
        os.close(command_out)
        self._session = ""
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(item["targetId"] for item in targets if item["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call one method and wait for its answer; what comes meanwhile is kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + _SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._read, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        values = message.get("params", {})
        match message.get("method"):
            case "Log.entryAdded":
                self.errors.append(values["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.errors.append(json.dumps(values["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if values["type"] in ("error", "warning", "assert"):
                self.errors.append(json.dumps(values["args"]))
            case "Network.requestWillBeSent":
                self.requests.append(values["request"]["url"])

    def open(self, path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Show a file by its file:// address in a window of this size and colour scheme."""
        self.errors.clear()
        self.requests.clear()
        self.resize(width, height, scheme)
        self.call("Page.navigate", url=path.absolute().as_uri())
        deadline = time.monotonic() + _SECONDS
        while self.run("document.readyState + location.protocol") != "completefile:":
            assert time.monotonic() < deadline, "the page does not load"
            time.sleep(0.05)

    def resize(self, width: int, height: int, scheme: str) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, name: str, *, times: int = 1) -> None:
        """Press a key as a person does."""
        key, code, text = _KEYS[name]
        for _ in range(times):
            common = {"key": key, "code": name, "windowsVirtualKeyCode": code}
            down = {**common, "text": text} if text else common
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screenshot(self, path: Path, *, clip: tuple[float, float, float, float] | None = None) -> None:
        """The whole page as a PNG file, or a part of it: x, y, width, height."""
        more: dict[str, Any] = {"captureBeyondViewport": True}
        if clip is not None:
            x, y, width, height = clip
            more["clip"] = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png", **more)["data"]))

    def tree(self) -> list[dict[str, Any]]:
        """The accessibility tree: what a screen reader is told."""
        nodes: list[dict[str, Any]] = self.call("Accessibility.getFullAXTree")["nodes"]
        return nodes
