"""The report on one model, as one HTML page for people who decide. Pure: tables and images in, text out.

The page needs no network. Its charts are static pictures that a script replaces by interactive ones. What it is made
from is in `contents.py`, what it says of a dataset in `sections.py`, how it looks in `templates/`.
"""

import json
from pathlib import Path
from typing import Any

from cellassets.reporting.contents import DatasetPage, ModelFacts, ReportPage
from cellassets.reporting.scripts import page_scripts, script_hash
from cellassets.reporting.sections import dataset_section
from cellassets.reporting.theme import chart_config
from cellassets.statistics.significance import SIGNIFICANCE_LEVEL

__all__ = ["DatasetPage", "ModelFacts", "ReportPage", "render"]

TEMPLATES = Path(__file__).parent / "templates"


def render(page: ReportPage) -> str:
    """Returns the page as HTML, in one file that loads nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [dataset_section(page, dataset) for dataset in page.datasets]
    judged = [section for section in sections if section["benchmarks"]]
    scripts = page_scripts() if sections else ()
    return environment.get_template("report.html.j2").render(
        model=page.model,
        alpha=SIGNIFICANCE_LEVEL,
        sections=sections,
        verdicts=[section["verdict"] for section in judged],
        tally=_tally(judged),
        provenance=page.provenance,
        style=(TEMPLATES / "style.css").read_text(),
        scripts=scripts,
        script_sources=" ".join(script_hash(script) for script in scripts) or "'none'",
        chart_config=json.dumps(chart_config()).replace("<", "\\u003c"),
    )


def _tally(sections: list[dict[str, Any]]) -> dict[str, int]:
    """How many comparisons with other models came out which way, over all datasets and benchmarks."""
    standings = [
        row["standing"] for section in sections for found in section["benchmarks"] for row in found["compared"]
    ]
    return {name: standings.count(name) for name in ("better", "worse", "not distinguishable")}
