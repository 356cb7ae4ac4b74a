"""A real browser draws the charts of a report, answers to the mouse, and asks for nothing outside the file."""

import asyncio
import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from cellassets.reporting.page import render

pytestmark = pytest.mark.browser
N_CHARTS = 6 + 9 + 1 + 2  # models, units (pairs have none), the map, two measures of batch effect
IS_DRAWN = "[...document.querySelectorAll('.chart')].every(chart => chart.dataset.drawn)"
TOOLTIP = "document.querySelector('#vg-tooltip-element.visible')?.innerText ?? ''"
CENTRE = """(() => {
  const element = %s;
  element.scrollIntoView({block: 'center'});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})()"""


class Page:
    """One page of a running browser, over the DevTools protocol."""

    def __init__(self, socket):
        self.socket, self.number, self.events = socket, 0, []

    async def call(self, method, **parameters):
        self.number += 1
        await self.socket.send_json({"id": self.number, "method": method, "params": parameters})
        while True:
            answer = await self.socket.receive_json(timeout=60)
            if answer.get("id") == self.number:
                return answer["result"]
            self.events.append(answer)

    async def evaluate(self, expression):
        return (await self.call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def until(self, expression):
        deadline = time.monotonic() + 60
        while not (value := await self.evaluate(expression)):
            assert time.monotonic() < deadline, expression
            await asyncio.sleep(0.05)
        return value

    async def open(self, url):
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && document.querySelector('main') !== null")

    async def hover(self, element):
        x, y = await self.evaluate(CENTRE % element)
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 1, y=y - 1)
        await self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return await self.until(TOOLTIP)

    def of(self, method):
        return [event["params"] for event in self.events if event.get("method") == method]


@contextlib.contextmanager
def running_browser(folder):
    """Yields the address of a browser's first page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None and "CI" not in os.environ:
        pytest.skip("needs Chromium: apt-get install chromium")
    assert browser, "CI has no Chromium"
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
        "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1200,1000",
        "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            port_file, deadline = folder / "DevToolsActivePort", time.monotonic() + 60
            while not (port_file.exists() and port_file.read_text().strip()):
                assert time.monotonic() < deadline, "the browser opened no port"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port_file.read_text().split()[0]}"
        finally:
            process.terminate()


def visit(folder, url, look):
    """Returns what `look` finds on a page."""
    from aiohttp import ClientSession

    async def session(address):
        async with ClientSession() as client:
            async with client.get(f"{address}/json/list") as answer:
                targets = json.loads(await answer.text())
            target = next(target for target in targets if target["type"] == "page")
            async with client.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                await page.open(url)
                return await look(page)

    with running_browser(folder) as address:
        return asyncio.run(session(address))


@pytest.fixture(scope="module")
def report(report_page, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(report_page))
    return path


def test_every_chart_is_drawn_and_nothing_is_fetched_or_refused(report, tmp_path):
    async def look(page):
        await page.until(IS_DRAWN)
        drawn = await page.evaluate("[...document.querySelectorAll('.chart')].map(chart => chart.dataset.drawn)")
        marks = await page.evaluate("document.querySelectorAll('.chart .vega-embed .mark-symbol path').length")
        canvases = await page.evaluate("document.querySelectorAll('.chart canvas').length")
        shot = await page.call("Page.captureScreenshot")
        requests = [sent["request"]["url"] for sent in page.of("Network.requestWillBeSent")]
        complaints = [
            *page.of("Runtime.consoleAPICalled"),
            *page.of("Log.entryAdded"),
            *page.of("Runtime.exceptionThrown"),
        ]
        return drawn, marks, canvases, shot["data"], requests, complaints

    drawn, marks, canvases, shot, requests, complaints = visit(tmp_path, report.as_uri(), look)
    assert drawn == ["yes"] * N_CHARTS
    assert marks > 100
    assert canvases == 1
    assert complaints == []
    assert {request.split(":")[0] for request in requests} <= {"file", "data"}
    assert len([request for request in requests if request.startswith("file:")]) == 1
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot))).convert("L"))
    assert pixels[0, 0] > 200
    assert pixels.std() > 10


def test_the_mouse_shows_value_interval_and_null_of_a_model(report, tmp_path):
    text = visit(
        tmp_path, report.as_uri(), lambda page: hovered(page, "document.querySelector('.chart .mark-symbol path')")
    )
    for part in ("model", "good.v1", "95% interval", "null mean (95%)", "rank"):
        assert part in text


def test_the_mouse_shows_perturbation_value_null_and_q_of_a_unit(report, tmp_path):
    async def look(page):
        await page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        return await hovered(page, "document.querySelector('details .chart .layer_2_marks path')")

    text = visit(tmp_path, report.as_uri(), look)
    for part in ("unit", "GENE", "consistency percentile", "null mean (95%)", "q"):
        assert part in text


def test_the_mouse_shows_both_genes_and_their_known_groups_on_the_map(report, tmp_path):
    text = visit(tmp_path, report.as_uri(), lambda page: hovered(page, "document.querySelector('.chart canvas')"))
    for part in ("gene", "compared with", "cosine", "known group"):
        assert part in text
    assert text.count("GENE") >= 2


async def hovered(page, element):
    await page.until(IS_DRAWN)
    return await page.hover(element)


def test_without_scripts_the_static_charts_stand_on_the_page(report, tmp_path):
    async def look(page):
        await page.call("Emulation.setScriptExecutionDisabled", value=True)
        await page.call("Page.reload")
        await asyncio.sleep(1)
        await page.call("Emulation.setScriptExecutionDisabled", value=False)
        return await page.evaluate("document.querySelectorAll('.chart > svg[role=img]').length")

    assert visit(tmp_path, report.as_uri(), look) == N_CHARTS


def test_markup_in_a_name_stays_text_under_the_mouse(report_page, tmp_path):
    named = report_page.datasets[0].map_table.with_columns(pl.lit("<b>bold</b>").alias("gene_symbol"))
    path = tmp_path / "hostile.html"
    path.write_text(render(replace(report_page, datasets=(replace(report_page.datasets[0], map_table=named),))))

    async def look(page):
        text = await hovered(page, "document.querySelector('.chart canvas')")
        return text, await page.evaluate("document.querySelectorAll('#vg-tooltip-element b').length")

    text, n_bold = visit(tmp_path, path.as_uri(), look)
    assert "<b>bold</b>" in text
    assert n_bold == 0
