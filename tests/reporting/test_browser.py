"""A real browser draws the charts of a report, answers to the mouse, and asks for nothing outside the file."""

import asyncio
import base64
import io
import os
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


@pytest.fixture
def visit(browser, tmp_path):
    """Returns what `look` finds on a page: `visit(url, look)`."""
    program = browser.find_browser()
    if program is None and "CI" not in os.environ:
        pytest.skip("needs Chromium: apt-get install chromium")
    assert program, "CI has no Chromium"

    async def session(address, url, look):
        async with browser.open_page(address) as page:
            await page.enable()
            await page.call("Page.navigate", url=url)
            await page.until("document.readyState === 'complete' && document.querySelector('main') !== null")
            return await look(page)

    def visit(url, look):
        with browser.running_browser(program, tmp_path) as address:
            return asyncio.run(session(address, url, look))

    return visit


async def hover(page, element):
    x, y = await page.evaluate(CENTRE % element)
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x - 1, y=y - 1)
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    return await page.until(TOOLTIP)


@pytest.fixture(scope="module")
def report(report_page, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(report_page))
    return path


def test_every_chart_is_drawn_and_nothing_is_fetched_or_refused(report, visit):
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

    drawn, marks, canvases, shot, requests, complaints = visit(report.as_uri(), look)
    assert drawn == ["yes"] * N_CHARTS
    assert marks > 100
    assert canvases == 1
    assert complaints == []
    assert {request.split(":")[0] for request in requests} <= {"file", "data"}
    assert len([request for request in requests if request.startswith("file:")]) == 1
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shot))).convert("L"))
    assert pixels[0, 0] > 200
    assert pixels.std() > 10


def test_the_mouse_shows_value_interval_and_null_of_a_model(report, visit):
    text = visit(report.as_uri(), lambda page: hovered(page, "document.querySelector('.chart .mark-symbol path')"))
    for part in ("model", "good.v1", "95% interval", "null mean (95%)", "rank"):
        assert part in text


def test_the_mouse_shows_perturbation_value_null_and_q_of_a_unit(report, visit):
    async def look(page):
        await page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        return await hovered(page, "document.querySelector('details .chart .layer_2_marks path')")

    text = visit(report.as_uri(), look)
    for part in ("unit", "GENE", "consistency percentile", "null mean (95%)", "q"):
        assert part in text


def test_the_mouse_shows_both_genes_and_their_known_groups_on_the_map(report, visit):
    text = visit(report.as_uri(), lambda page: hovered(page, "document.querySelector('.chart canvas')"))
    for part in ("gene", "compared with", "cosine", "known group"):
        assert part in text
    assert text.count("GENE") >= 2


async def hovered(page, element):
    await page.until(IS_DRAWN)
    return await hover(page, element)


def test_without_scripts_the_static_charts_stand_on_the_page(report, visit):
    async def look(page):
        await page.call("Emulation.setScriptExecutionDisabled", value=True)
        await page.call("Page.reload")
        await asyncio.sleep(1)
        await page.call("Emulation.setScriptExecutionDisabled", value=False)
        await page.until("document.readyState === 'complete'")  # what was loaded without scripts stays without them
        return await page.evaluate("document.querySelectorAll('.chart > svg[role=img]').length")

    assert visit(report.as_uri(), look) == N_CHARTS


def test_markup_in_a_name_stays_text_under_the_mouse(report_page, visit, tmp_path_factory):
    named = report_page.datasets[0].map_table.with_columns(pl.lit("<b>bold</b>").alias("gene_symbol"))
    path = tmp_path_factory.mktemp("hostile") / "hostile.html"
    path.write_text(render(replace(report_page, datasets=(replace(report_page.datasets[0], map_table=named),))))

    async def look(page):
        text = await hovered(page, "document.querySelector('.chart canvas')")
        return text, await page.evaluate("document.querySelectorAll('#vg-tooltip-element b').length")

    text, n_bold = visit(path.as_uri(), look)
    assert "<b>bold</b>" in text
    assert n_bold == 0
