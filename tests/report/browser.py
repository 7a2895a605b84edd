"""A headless Chromium for tests, spoken to over its DevTools pipe; no package needed."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT_S = 60


def find() -> str | None:
    """Path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def browser(folder):
    """A running browser with one page; `folder` takes its profile."""
    to_read, to_write = os.pipe(), os.pipe()

    # Chromium reads commands at 3 and answers at 4.
    join = f'exec 3<&{to_read[0]} 4>&{to_write[1]}; exec "$@"'
    process = subprocess.Popen(
        [
            *("bash", "-c", join, "bash"),
            *(find(), "--headless", "--no-sandbox", "--disable-gpu"),
            *("--hide-scrollbars", "--remote-debugging-pipe", "--no-first-run"),
            *("--disable-background-networking", "--disable-dev-shm-usage"),
            *(f"--user-data-dir={folder}", "about:blank"),
        ],
        pass_fds=(to_read[0], to_write[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Page(to_read[1], to_write[0])
    finally:
        process.kill()
        process.wait()
        for end in (*to_read, *to_write):
            os.close(end)


class Page:
    """One tab.

    Attributes:
      events: What the browser reported, in order, as DevTools names it.
    """

    def __init__(self, to_browser: int, from_browser: int):
        """Attaches to the first tab."""
        self._out, self._in, self._rest = to_browser, from_browser, b""
        self._ids, self._session = itertools.count(1), None
        self.events = []
        (tab, *_) = [
            target
            for target in self.send("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        ]
        attached = self.send(
            "Target.attachToTarget", targetId=tab["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Accessibility"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params) -> dict:
        """A command's result."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def open(self, path, *, width: int, scheme: str = "light") -> None:
        """Shows a file in a window of some width, in light or in dark colours."""
        self.resize(width, 900)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.send("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self.send("Page.navigate", url=path.resolve().as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._receive())

    def resize(self, width: int, height: int) -> None:
        """The window's size; up to 600 it is a phone."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width <= 600,
        )

    def run(self, expression: str):
        """The value of a JavaScript expression; promises are awaited."""
        done = self.send(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def press(self, key: str) -> None:
        """A key, e.g. `Tab` or `Enter`."""
        codes = {"Tab": (9, ""), "Enter": (13, "\r")}
        code, text = codes[key]
        event = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.send("Input.dispatchKeyEvent", type="keyUp", **event)

    def screenshot(self, path, *, whole: bool = True, **clip) -> None:
        """A PNG of the whole page, or of a part `x, y, width, height`."""
        options = {"captureBeyondViewport": whole}
        if clip:
            options["clip"] = {"scale": 1, **clip}
        data = self.send("Page.captureScreenshot", **options)["data"]
        path.write_bytes(base64.b64decode(data))

    def problems(self) -> list:
        """Errors and warnings of the console, and exceptions."""
        bad = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [event for event in self.events if event.get("method") in bad]

    def requests(self) -> list[str]:
        """Addresses that the page asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def _receive(self) -> dict:
        deadline = time.monotonic() + TIMEOUT_S
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], deadline - time.monotonic())
            assert ready, f"Chromium said nothing for {TIMEOUT_S} s"
            found = os.read(self._in, 1 << 16)
            assert found, "Chromium ended"
            self._rest += found
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)
