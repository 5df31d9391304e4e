"""Drives a headless Chromium by its DevTools protocol."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from typing import Any, Dict, List, Optional

CHROMIUM: Optional[str] = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None
)
_SECONDS = 30


class Page:
    """A page that is open in the browser; its methods are coroutines.

    Attributes:
      events: what the browser told of its own accord, of the domains that are enabled.
    """

    def __init__(self, connection: Any):
        self.events: List[Dict[str, Any]] = []
        self._connection = connection
        self._number = 0

    async def call(self, method: str, **parameters: object) -> Any:
        """Sends a command of the protocol; returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        await self._connection.write_message(json.dumps(message))
        while True:
            answer = json.loads(
                await asyncio.wait_for(self._connection.read_message(), timeout=_SECONDS)
            )
            if "id" not in answer:
                self.events.append(answer)
            elif answer["id"] == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def value(self, script: str) -> Any:
        """Evaluates JavaScript."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def press(self, key: str, code: str = "", modifiers: int = 0) -> None:
        """Presses a key and lets it go; modifiers are 2 for Ctrl."""
        event = {"key": key, "code": code, "modifiers": modifiers}
        await self.call("Input.dispatchKeyEvent", type="rawKeyDown", **event)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    async def click(self, selector: str) -> None:
        """Clicks on the middle of an element."""
        await self.value(f"document.querySelector({json.dumps(selector)}).scrollIntoView()")
        box = await self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left",
                clickCount=1,
            )  # fmt: skip

    async def type(self, text: str) -> None:
        """Types into the element that has the focus."""
        await self.call("Input.insertText", text=text)

    async def open(self, path: str, width: int = 1280, height: int = 900) -> None:
        """Opens a file at a size of the window."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        await self.call("Page.enable")
        await self.call("Page.navigate", url=f"file://{path}")
        for _ in range(10 * _SECONDS):
            if await self.value("document.readyState") == "complete":
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{path} did not load")


def drive(work: Any) -> None:
    """Runs ``work(page)``, a coroutine, in a browser of its own."""
    from tornado.websocket import websocket_connect

    async def connected(port: str) -> None:
        no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with no_proxy.open(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [each for each in json.load(answer) if each["type"] == "page"]
        connection = await websocket_connect(
            pages[0]["webSocketDebuggerUrl"], max_message_size=1 << 28
        )
        await work(Page(connection))
        connection.close()

    profile = tempfile.mkdtemp()
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    # Of a group of its own, as what is started may be a script that starts the browser.
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        found = next(filter(None, (re.search(r"ws://[^:]+:(\d+)/", line) for line in lines)))
        asyncio.run(connected(found[1]))
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=_SECONDS)
        shutil.rmtree(profile, ignore_errors=True)
