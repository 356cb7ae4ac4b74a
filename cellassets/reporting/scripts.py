"""The scripts of a page: the Vega libraries as one bundle, and a few lines that draw the page's charts.

The bundle comes out of the vl-convert package, so it has the version that draws the static pictures, and nothing is
downloaded. The page names the hash of each script, so a browser runs these scripts and no others.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path

from cellassets.errors import BenchmarkError

DRAW = Path(__file__).parent / "templates" / "draw.js"
NOTICE = (
    "/* Vega, Vega-Lite, Vega-Embed and Vega-Tooltip: copyright University of Washington Interactive Data Lab and "
    "contributors, BSD-3-Clause, https://github.com/vega */\n"
)


@cache  # bundling takes one to three seconds
def page_scripts() -> tuple[str, str]:
    """Returns the bundle of Vega, Vega-Lite and Vega-Embed (about 0.9 MB), and the script that draws the charts.

    Raises:
        BenchmarkError: the bundle holds a text that would end its `script` element.
    """
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    scripts = NOTICE + bundle, DRAW.read_text()
    for script in scripts:
        if "</script" in script.lower() or "<!--" in script:
            message = "a script of the report holds </script or <!--; expected none; pin another vl-convert-python"
            raise BenchmarkError(message)
    return scripts


def script_hash(script: str) -> str:
    """Returns the source expression by which a Content-Security-Policy allows one inline script.

    Source: W3C, Content Security Policy Level 3, section 2.3.1 (hash-source).
    """
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
