"""A real browser without a window: Chromium over the DevTools protocol."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


def find_browser() -> str | None:
    """Returns the program of Chromium, None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page of a running browser."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.number, self.events = socket, 0, []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Returns the answer of the browser to a call."""
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            answer = await self.socket.receive_json(timeout=PATIENCE_S)
            if answer.get("id") == self.number:
                return answer["result"]
            self.events.append(answer)

    async def evaluate(self, expression: str) -> Any:
        """Returns the value of an expression on the page, None where it has none."""
        return (await self.call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def until(self, expression: str, *, patience_s: float = PATIENCE_S) -> Any:
        """Returns the value of an expression as soon as it is true."""
        deadline = time.monotonic() + patience_s
        while not (value := await self.evaluate(expression)):
            assert time.monotonic() < deadline, expression
            await asyncio.sleep(0.05)
        return value

    async def enable(self) -> None:
        """Makes the browser tell what happens on the page."""
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    def of(self, method: str) -> list[dict[str, Any]]:
        """Returns the events of a kind that were told."""
        return [event["params"] for event in self.events if event.get("method") == method]


@contextlib.contextmanager
def running_browser(browser: str, folder: Path) -> Iterator[str]:
    """Yields the address of a browser's first page.

    Args:
        browser: its program.
        folder: an empty folder for its profile.
    """
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1200,1000",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port_file, deadline = folder / "DevToolsActivePort", time.monotonic() + PATIENCE_S
            while not (port_file.exists() and port_file.read_text().strip()):
                assert time.monotonic() < deadline, "the browser opened no port"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port_file.read_text().split()[0]}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def open_page(address: str) -> AsyncIterator[Page]:
    """Yields the first page of a browser at an address."""
    from aiohttp import ClientSession

    async with ClientSession() as client:
        async with client.get(f"{address}/json/list") as answer:
            targets = json.loads(await answer.text())
        target = next(target for target in targets if target["type"] == "page")
        async with client.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Page(socket)
