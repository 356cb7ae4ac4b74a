"""What an HTML page would load from elsewhere when it is opened."""

import re
from html.parser import HTMLParser

LOADING = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "link": "href",
    "object": "data",
    "embed": "src",
}
IN_STYLE = re.compile(r"@import[^;]+|url\(\s*['\"]?(?:https?:)?//[^)]+\)")


def outside_links(page: str) -> list[str]:
    """Returns every address that a browser would fetch for this page, in their order; empty for a page that is whole.

    Looked at are elements that load something (scripts, pictures, frames, style sheets) and addresses in styles. Links
    that a person follows, and text inside scripts, load nothing.
    """
    reader = _Loads()
    reader.feed(page)
    return reader.found


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Takes what an element loads."""
        values = {name: value or "" for name, value in attrs}
        address = values.get(LOADING.get(tag, ""), "")
        if address and not address.startswith(("data:", "#")):
            self.found.append(address)
        self.found += IN_STYLE.findall(values.get("style", ""))
        self._is_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        """Leaves a style."""
        if tag == "style":
            self._is_style = False

    def handle_data(self, data: str) -> None:
        """Takes addresses in a style."""
        if self._is_style:
            self.found += IN_STYLE.findall(data)
