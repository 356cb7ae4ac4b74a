"""A chart: one Vega-Lite specification, from which the interactive and the static picture are both made.

The functions that build charts are in the files named after them (`interval_chart.py`, `unit_picture.py`,
`steps_chart.py`, `heat_map.py`). A page embeds the specification (`page.py`); Dagster's metadata takes `data_uri`.
Nothing here reads a file or a network address: all data stand in the specification.
"""

import base64
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from cellassets.reporting.theme import chart_config

if TYPE_CHECKING:
    import altair as alt

VEGA_LITE = "6.4"


@dataclass(frozen=True)
class Chart:
    """A chart with a title and a description for people who do not see it.

    Attributes:
        title: what the chart shows.
        description: the most important numbers, as text.
        spec: the Vega-Lite specification with its data, without configuration.
        static_spec: the specification of the static picture, where it differs from `spec`.
        renderer: how a browser draws it; canvas is faster from some thousands of marks.
    """

    title: str
    description: str
    spec: Mapping[str, Any]
    static_spec: Mapping[str, Any] | None = None
    renderer: Literal["svg", "canvas"] = "svg"

    def svg(self) -> str:
        """Returns the static picture as an SVG document, with title and description."""
        import vl_convert

        spec = dict(self.spec if self.static_spec is None else self.static_spec)
        drawn = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, config=chart_config(), allowed_base_urls=[])
        opening, body = _with_own_ids(drawn, spec).split(">", 1)
        described = f"<title>{escape(self.title)}</title><desc>{escape(self.description)}</desc>"
        return f'{opening} role="img">{described}{body}'

    def embedded(self) -> str:
        """Returns the specification as JSON that can stand inside a `script` element: no `<` is left in it."""
        spec = {"description": f"{self.title}: {self.description}", **self.spec}
        return json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _with_own_ids(drawn: str, spec: Mapping[str, Any]) -> str:
    """The drawing with ids that depend on what is drawn: those of vl-convert count the drawings of the process."""
    own = f"{zlib.crc32(json.dumps(spec, sort_keys=True).encode()):08x}"
    for number, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', drawn))):
        pattern = rf'(id="|url\(#|href="#){re.escape(name)}(?=["\)])'
        drawn = re.sub(pattern, rf"\g<1>{own}-{number}", drawn)
    return drawn


def specification(chart: "alt.TopLevelMixin", **datasets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the Vega-Lite specification of an Altair chart, without schema address and default configuration.

    It is not compared with Vega-Lite's schema, which takes longer than all the rest; the tests do that.

    Args:
        chart: takes its rows by name (`altair.NamedData`).
        datasets: the rows by these names; each stands in the specification once.
    """
    spec: dict[str, Any] = chart.to_dict(validate=False)
    kept = {name: value for name, value in spec.items() if name not in ("$schema", "config")}
    return {**kept, "datasets": {name: list(rows) for name, rows in datasets.items()}}


def data_uri(chart: Chart) -> str:
    """Returns the static picture of a chart as the source of an `img`."""
    return f"data:image/svg+xml;base64,{base64.b64encode(chart.svg().encode()).decode()}"


def rounded(value: float | None) -> float | None:
    """Returns a number with six significant digits, which is more than a chart can show; None stays None."""
    return None if value is None else float(f"{value:.6g}")
