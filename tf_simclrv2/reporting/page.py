"""The page of a report: a template of Jinja, filled with tables, charts and pictures."""

import functools
import json
import os
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

import jinja2
from markupsafe import Markup

from tf_simclrv2.reporting.charts import THEMES, Chart

_FOLDER = os.path.dirname(__file__)
_TEMPLATE, _STYLE, _SCRIPT = "page.html", "page.css", "page.js"
# What the bundle of Vega leaves for page.js.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"


def page(content: Mapping[str, Any], charts: Sequence[Chart], images: Sequence[Any]) -> str:
    """Writes the page in HTML; it needs nothing but itself.

    All names in ``content`` are escaped by the template.

    Args:
      content: what the template shows, see ``page.html``.
      charts: all charts that it names.
      images: what the pointer tells of each image of the album.
    """
    album = content["album"]
    data = {
        "charts": {chart.name: chart.spec for chart in charts},
        "images": list(images),
        "themes": THEMES,
        "album": None if album is None else {"columns": album.columns, "rows": album.rows},
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template(_TEMPLATE).render(
        content,
        style=Markup(_read(_STYLE)),
        vega=Markup(_vega()),
        script=Markup(_read(_SCRIPT)),
        data=Markup(_in_script(data)),
    )
    # JSON that somebody has changed may hold what no file can.
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def _read(name: str) -> str:
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()


def _in_script(data: Dict[str, Any]) -> str:
    """JSON that stands in a script's element: a name such as </script> must not end it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


@functools.lru_cache(maxsize=1)
def _vega() -> str:
    """Vega in JavaScript, which takes seconds to put together."""
    # Imported only here, since it starts a JavaScript engine.
    import vl_convert

    bundle: str = vl_convert.javascript_bundle(_SNIPPET)
    return bundle.replace("</script", "<\\/script")


class Charts:
    """The charts of a page, under names that are safe for files and of which no two are the same.

    Attributes:
      found: the charts so far.
    """

    def __init__(self) -> None:
        self.found: List[Chart] = []

    def one(self, chart: Optional[Chart]) -> Optional[Chart]:
        """Adds a chart, if there is one; returns it under its name."""
        return None if chart is None else self.all([chart])[0]

    def all(self, charts: Sequence[Chart]) -> List[Chart]:
        """Adds charts; returns them under their names."""
        added = []
        for chart in charts:
            # Some file systems take names of any case for the same.
            taken = {each.name.lower() for each in self.found}
            safe = re.sub(r"[^A-Za-z0-9_.-]+", "-", chart.name)[:80].strip(".-") or "chart"
            names = [safe, *(f"{safe}_{number}" for number in range(2, len(taken) + 3))]
            name = next(each for each in names if each.lower() not in taken)
            added.append(chart._replace(name=name))
            self.found.append(added[-1])
        return added
