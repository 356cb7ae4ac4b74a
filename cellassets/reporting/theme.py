"""Colours and type of all charts and of the report page, in one place.

The colours are those of Okabe and Ito, which people with any colour vision can distinguish. The background is white, so
that a chart looks the same on the page, in the Dagster UI and on paper.
"""

from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
PAPER, INK, SOFT, LINE = "#ffffff", "#1c2024", "#5b646d", "#e2e5e8"
OWN, OTHER = "#0072b2", "#8a9299"
BAND, CHANCE = "#f6e2c3", "#a8650c"
# Source: Okabe and Ito (2008), "Color Universal Design"; black replaces yellow, which is too faint on white
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1c2024", "#999999")
# opposite, unrelated, alike
DIVERGING = ("#2166ac", "#f7f7f7", "#b2182b")


def chart_config() -> dict[str, Any]:
    """Returns the Vega-Lite configuration that all charts share."""
    text = {"labelColor": SOFT, "titleColor": SOFT, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 400}
    return {
        "background": PAPER,
        "font": FONT,
        "aria": False,  # the chart itself carries its title and description
        "padding": 2,
        "view": {"stroke": None},
        "axis": {
            **text,
            "domainColor": LINE,
            "gridColor": LINE,
            "tickColor": LINE,
            "tickSize": 4,
            "labelPadding": 6,
            "titlePadding": 10,
        },
        "legend": {**text, "labelColor": INK, "symbolSize": 70, "symbolStrokeWidth": 1.5, "columnPadding": 18},
        "text": {"color": INK, "fontSize": 12},
    }
