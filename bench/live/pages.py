"""Pages of Dagster's UI in a browser: how long each takes until it shows its content."""

import asyncio
import json
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from live.services import Services, module_at

PATIENCE_S = 60.0
LOOK_EVERY_S = 0.05
TEXT = "(document.body?.innerText ?? '')"
IS_BLANK = "location.href === 'about:blank' && document.readyState === 'complete'"
N_SLOWEST = 2


@dataclass(frozen=True)
class PageKind:
    """A page and what shows that its content is there.

    Attributes:
        name: name for people.
        path: its address below that of the UI.
        shows: regular expression of JavaScript that its text matches once the content is there.
        n_shown: how often it must match.
    """

    name: str
    path: str
    shows: str
    n_shown: int = 1

    @property
    def is_there(self) -> str:
        """Expression that is true once the content is there."""
        n_found = f"({TEXT}.match(new RegExp({json.dumps(self.shows)}, 'gs')) ?? []).length"
        return f"{n_found} >= {self.n_shown} && !/Loading/.test({TEXT})"


def asset_pages(assets: Sequence[str], first_keys: Mapping[str, str]) -> list[PageKind]:
    """Returns the pages of assets: the overview of each, and the partitions of those that have some.

    Args:
        assets: names of the assets.
        first_keys: by asset with partitions, the key that its list of partitions begins with.
    """
    overview = [PageKind(f"{name}: overview", f"/assets/{name}", "Latest") for name in assets]
    partitions = [
        PageKind(f"{name}: partitions", f"/assets/{name}?view=partitions", re.escape(key))
        for name, key in first_keys.items()
    ]
    return [*overview, *partitions]


def visit_all(services: Services, kinds: Sequence[PageKind], tell: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Returns for each page what its first and its second visit took.

    Args:
        services: what runs.
        kinds: the pages.
        tell: receives a line about each page.
    """

    async def look(page: Any) -> dict[str, dict[str, Any]]:
        found = {}
        for kind in kinds:
            first, second = await visit(page, services, kind), await visit(page, services, kind)
            found[kind.name] = {"first": first, "second": second}
            tell(f"{kind.name}: {first['seconds']:.1f} s, then {second['seconds']:.1f} s")
            for one in (first, second):
                if "text" in one:
                    tell(f"  not there: {one['text']}")
        return found

    return in_browser(look)


async def visit(page: Any, services: Services, kind: PageKind) -> dict[str, Any]:
    """Returns the seconds until a page shows its content, the processor time meanwhile, and its slowest queries.

    Of a page that does not show it in time its last words are returned.
    """
    await page.call("Page.navigate", url="about:blank")
    await page.until(IS_BLANK)  # the browser may never answer to an address that is asked for before
    page.events.clear()
    started, cpu_s = time.monotonic(), services.cpu_s()
    await page.call("Page.navigate", url=services.url + kind.path)
    is_there = False
    while not is_there and time.monotonic() - started < PATIENCE_S:
        is_there = bool(await page.evaluate(kind.is_there))
        await asyncio.sleep(0 if is_there else LOOK_EVERY_S)
    found = {
        "seconds": round(time.monotonic() - started, 2),
        "server_cpu_s": round(services.cpu_s() - cpu_s, 2),
        "is_there": is_there,
        "slowest_queries_s": slowest_queries(page),
    }
    return found if is_there else {**found, "text": (await page.evaluate(TEXT))[-1000:]}


def slowest_queries(page: Any) -> dict[str, float]:
    """Returns the seconds of the slowest GraphQL queries of a page that were answered, by name."""
    sent = {event["requestId"]: event for event in page.of("Network.requestWillBeSent")}
    took: dict[str, float] = {}
    for event in page.of("Network.loadingFinished"):
        request = sent.get(event["requestId"])
        name = re.search(r'"operationName":"(\w+)"', request["request"].get("postData", "") if request else "")
        if request and name:
            took[name[1]] = max(took.get(name[1], 0.0), round(event["timestamp"] - request["timestamp"], 2))
    return dict(sorted(took.items(), key=lambda item: -item[1])[:N_SLOWEST])


def in_browser(look: Callable[[Any], Awaitable[Any]]) -> Any:
    """Returns what `look` finds with the page of a new browser."""
    browser = module_at("tests/browser.py")
    program = browser.find_browser()
    if program is None:
        message = "no Chromium here; install it (Debian: apt-get install chromium)"
        raise SystemExit(message)

    async def session(address: str) -> Any:
        async with browser.open_page(address) as page:
            await page.enable()
            return await look(page)

    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        browser.running_browser(program, Path(profile)) as address,
    ):
        return asyncio.run(session(address))
