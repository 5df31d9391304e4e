"""A page from which a table of labels can be filled in: one file, which needs no server.

The page itself is ``page.html``, next to this module.
"""

import base64
import hashlib
import json
import os
from typing import NamedTuple, Sequence

from tf_simclrv2.labelling.table import Table

_TEMPLATE = os.path.join(os.path.dirname(__file__), "page.html")
_DATA = "__DATA__"
_PNG = b"\x89PNG"


class Shown(NamedTuple):
    """An image to label.

    Attributes:
      name: of the image, for people.
      picture: a PNG or JPEG file.
      is_small: whether its pixels are to be seen as squares.
    """

    name: str
    picture: bytes
    is_small: bool


def page(table: Table, images: Sequence[Shown], classes: Sequence[str], file: str) -> str:
    """Writes the page in HTML.

    The browser keeps what is entered, by a digest of all that is given here: browsers may show the
    entries of one file to all others.

    Args:
      table: what to fill in; other rows than the new ones stay as they are.
      images: of the table's new rows.
      classes: names of classes, to begin with.
      file: the name under which the page saves the table.
    """
    names = [[image.name, n] for image, n in zip(images, table.numbers)]
    hashed = hashlib.sha256(json.dumps([table.rows, list(classes), names]).encode())
    for image in images:
        hashed.update(hashlib.sha256(image.picture).digest())
    data = {
        "key": f"labels {hashed.hexdigest()[:16]}",
        "file": file,
        "table": table.rows,
        "column": table.label_column,
        "classes": list(classes),
        "images": [
            {
                "row": row,
                "number": number,
                "name": image.name,
                "small": image.is_small,
                "source": _data_uri(image.picture),
            }
            for image, row, number in zip(images, table.chosen, table.numbers)
        ],
    }
    with open(_TEMPLATE, encoding="utf-8") as template:
        html = template.read()
    # A name such as </script> must not end the script.
    return html.replace(_DATA, json.dumps(data).replace("<", "\\u003c"), 1)


def _data_uri(picture: bytes) -> str:
    kind = "png" if picture.startswith(_PNG) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
