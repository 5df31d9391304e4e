"""The rows of ``report``."""

import json
import re
from typing import Any

from tests.net.held import Ran
from tests.net.looks import is_at
from tests.net.table import Row, anything, becomes


def _page(ran: Ran) -> str:
    with open(ran.values["output"], encoding="utf-8") as file:
        return file.read()


def _directory(ran: Ran) -> Any:
    """Which run the page is about."""
    return re.findall(r"<dt>directory</dt><dd>(.*?)</dd>", _page(ran))


def _num_images(ran: Ran) -> int:
    data = re.search(r'id="data">(.*?)</script>', _page(ran), re.DOTALL)
    return len(json.loads(data[1])["images"]) if data else -1


REPORT = [
    Row("runs", "{other_teacher}", _directory),
    Row("output", "{new}_report.html", is_at("{new}_report.html"), becomes(anything, True)),
    Row("max_images", 3, _num_images, becomes(0, 3)),
]
