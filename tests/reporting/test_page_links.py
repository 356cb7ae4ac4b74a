"""What a page would fetch: every way in which HTML and CSS load something, and nothing else."""

import pytest

from cellassets.reporting.page_links import outside_links

PIXEL = "data:image/png;base64,iVBORw0KGgo="
LOADED = {
    '<script src="https://cdn.org/vega.js"></script>': ["https://cdn.org/vega.js"],
    '<SCRIPT SRC="//cdn.org/vega.js"></SCRIPT>': ["//cdn.org/vega.js"],
    '<link rel="stylesheet" href="style.css">': ["style.css"],
    '<img src="http://a.org/map.png">': ["http://a.org/map.png"],
    f'<img src="{PIXEL}" srcset="{PIXEL} 1x, big.png 2x">': ["big.png"],
    '<img srcset="small.png 1x, big.png 2x">': ["small.png", "big.png"],
    '<picture><source srcset="a.webp"></picture>': ["a.webp"],
    '<video poster="first.jpg" src="film.mp4"></video>': ["film.mp4", "first.jpg"],
    '<iframe src="https://a.org/"></iframe>': ["https://a.org/"],
    '<object data="map.svg"></object>': ["map.svg"],
    '<svg><image href="map.png"/><use xlink:href="icons.svg#gene"/></svg>': ["map.png", "icons.svg#gene"],
    '<style>@import "https://a.org/style.css";</style>': ["https://a.org/style.css"],
    "<style>@import url(https://a.org/style.css);</style>": ["https://a.org/style.css"],
    "<style>p { color: red } @font-face { src: URL( 'font.woff2' ) }</style>": ["font.woff2"],
    '<p style="background: url(//a.org/grain.png)">text</p>': ["//a.org/grain.png"],
    '<meta http-equiv="Refresh" content="0; url=https://a.org/">': ["https://a.org/"],
    '<input type="image" src="button.png">': ["button.png"],
}
NOT_LOADED = [
    '<a href="https://a.org/paper">the paper</a>',
    '<a href="#scores">scores</a><svg><use href="#gene"/></svg>',
    f'<img src="{PIXEL}" alt="a gene">',
    f'<img src=" {PIXEL.upper()}">',
    f"<style>p {{ background: url('{PIXEL}') }} path {{ fill: url(#shade) }}</style>",
    "<script>const schema = 'https://vega.github.io/schema.json'; load('url(http://a.org)')</script>",
    "<p>read https://a.org/paper, or write url(http://a.org) and @import 'it'</p>",
    '<!-- <img src="http://a.org/map.png"> -->',
    '<svg xmlns="http://www.w3.org/2000/svg"></svg>',
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">',
    '<iframe src="about:blank"></iframe><img src="">',
]


@pytest.mark.parametrize("page", LOADED)
def test_what_a_browser_fetches_is_named(page):
    assert outside_links(page) == LOADED[page]


@pytest.mark.parametrize("page", NOT_LOADED)
def test_what_a_browser_does_not_fetch_is_not_named(page):
    assert outside_links(page) == []


def test_addresses_are_in_the_order_of_the_page():
    page = '<img src="a.png"><style>p { background: url(b.png) }</style><img src="c.png">'
    assert outside_links(page) == ["a.png", "b.png", "c.png"]


def test_the_report_fetches_nothing(page_text):
    assert outside_links(page_text) == []
