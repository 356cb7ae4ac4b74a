"""Addresses that a browser fetches when it opens an HTML page.

Requests that scripts make cannot be seen in the text of a page. The report forbids them by its Content-Security-Policy.
"""

import re
from collections.abc import Iterable
from html.parser import HTMLParser

LOADING = {
    "audio": ("src",),
    "body": ("background",),
    "embed": ("src",),
    "feimage": ("href", "xlink:href"),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src",),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src", "href", "xlink:href"),
    "source": ("src",),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
SOURCE_SETS = {"img": "srcset", "source": "srcset", "link": "imagesrcset"}
INSIDE = ("data:", "#", "about:blank")
IN_SOURCE_SET = re.compile(r"(\S+?)(?:\s+[\d.]+[wx])?\s*(?:,\s+|,?\s*$)")
IN_STYLE = re.compile(r"(?:@import\s+['\"]|url\(\s*['\"]?)([^'\")\s]+)", re.IGNORECASE)
REFRESH = re.compile(r"url\s*=\s*['\"]?([^'\"]+)", re.IGNORECASE)


def outside_links(page: str) -> list[str]:
    """Returns every address that a browser would fetch for this page, in their order; empty for a complete page.

    The function looks at elements that load something (scripts, pictures, frames, style sheets), at addresses in
    styles, and at redirects. Links that a person follows, data URIs and text inside scripts load nothing.

    Args:
        page: text of the HTML page.
    """
    reader = _Loads()
    reader.feed(page)
    reader.close()
    return reader.found


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._style: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes what an element loads."""
        values = {name: value or "" for name, value in attrs}
        self._note(values[name] for name in LOADING.get(tag, ()) if name in values)
        self._note(IN_SOURCE_SET.findall(values.get(SOURCE_SETS.get(tag, ""), "")))
        self._note(IN_STYLE.findall(values.get("style", "")))
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self._note(REFRESH.findall(values.get("content", "")))
        if tag == "style":
            self._style = []

    def handle_endtag(self, tag: str) -> None:
        """Notes the addresses in a style that ends here."""
        if tag == "style" and self._style is not None:
            self._note(IN_STYLE.findall("".join(self._style)))
            self._style = None

    def handle_data(self, data: str) -> None:
        """Collects the text of a style."""
        if self._style is not None:
            self._style.append(data)

    def _note(self, addresses: Iterable[str]) -> None:
        stripped = (address.strip() for address in addresses)
        self.found += [address for address in stripped if address and not address.lower().startswith(INSIDE)]
