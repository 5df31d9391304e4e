"""The page to label images on: its table, by Node, and all of it, in a headless Chromium."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
from importlib.util import find_spec

import numpy as np
import pytest

from tests.labelling.browser import CHROMIUM, drive
from tf_simclrv2.labelling.contact_sheet import encoded
from tf_simclrv2.labelling.page import Shown, page
from tf_simclrv2.labelling.table import next_round

NAMES = [
    "plain.png",
    'quoted "name", with comma.png',
    "</script><script>alert(1)</script>.png",
    "caf\\xe9 \u00e9\u4e2d\U0001f600.png",
    "<!-- <b> & 'x' ${y} `z`\\n.png",
]
CTRL = 2


def _written(classes=(), earlier=0):
    """The page and its table; the first rows are of an earlier round."""
    header = ["image", "label", "chosen_by", "number", "note"]
    records = {
        number: [f"{number}.png", "owl", "random", str(number), 'a "note",\nof two lines']
        for number in range(1, earlier + 1)
    }
    table = next_round(NAMES, "centres", header, records)
    pixels = np.random.RandomState(0).randint(0, 256, [len(NAMES), 16, 12, 3], np.uint8)
    images = [Shown(name, encoded(each, 320), True) for name, each in zip(NAMES, pixels)]
    return page(table, images, list(classes), "labels.csv"), table


def _script(html, name):
    return re.search(rf'<script[^>]* id="{name}">(.*?)</script>', html, re.DOTALL)[1]


def test_nothing_of_the_data_ends_the_script():
    html, table = _written(["</script>"])
    assert html.count("</script>") == html.count("<script") == 3
    data = json.loads(_script(html, "data"))
    assert data["table"] == table.rows and data["classes"] == ["</script>"]
    assert [each["name"] for each in data["images"]] == NAMES


def test_the_page_asks_for_nothing_from_outside():
    html, _ = _written()
    assert "__DATA__" not in html
    assert not re.search(r"(src|href)=|url\(|https?:", html)
    assert "default-src 'none'" in html


def test_what_a_browser_keeps_is_of_one_page_alone():
    """Names such as 0.png are those of many data sets."""
    table = next_round(["0.png"], "centres")
    earlier = next_round(["0.png"], "centres", ["image", "label"], {2: ["1.png", "owl"]})
    image = Shown("0.png", b"\x89PNG one", True)

    def key(table=table, image=image, classes=("owl",)):
        html = page(table, [image], list(classes), "labels.csv")
        return json.loads(_script(html, "data"))["key"]

    keys = [
        key(),
        key(table=earlier),
        key(image=image._replace(picture=b"\x89PNG two")),
        key(image=image._replace(name="9.png")),
        key(classes=("owl", "bat")),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == keys[0]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not there")
def test_the_table_is_written_as_pythons_csv_module_writes_it(tmp_path):
    html, table = _written(earlier=2)
    labels = ["cat", "", 'a "b", c', " d", "e\r\nf"]
    script = tmp_path / "table.js"
    script.write_text(
        _script(html, "table")
        + f"const [table, column, shown] = {json.dumps([table.rows, 1, table.chosen])};\n"
        + f"process.stdout.write(labelled(table, column, shown, {json.dumps(labels)}));\n"
    )
    printed = subprocess.run(["node", script], capture_output=True, check=True).stdout.decode()
    rows = [list(row) for row in table.rows]
    for row, label in zip(table.chosen, labels):
        rows[row][1] = label
    wanted = io.StringIO()
    csv.writer(wanted, lineterminator="\n").writerows(rows)
    assert printed == wanted.getvalue()


in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("tornado") is None,
    reason="there is no Chromium on this machine, or no Tornado, which ipykernel brings",
)


async def _labels(opened):
    return json.loads(await opened.value("JSON.stringify(labels)"))


async def _saved(opened, folder):
    """What the page saves."""
    await opened.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    await opened.click("#save")
    for _ in range(100):
        if os.path.exists(folder / "labels.csv"):
            break
        await opened.value("new Promise((done) => setTimeout(done, 100))")
    return (folder / "labels.csv").read_text(encoding="utf-8")


@in_a_browser
def test_labelling_by_keys_and_saving(tmp_path):
    html, table = _written(["cat", 'big "dog", old', *"cdefghij"], earlier=1)
    (tmp_path / "page.html").write_text(html, encoding="utf-8")

    async def work(opened):
        await opened.open(tmp_path / "page.html")
        assert await opened.value("document.getElementById('count').textContent") == (
            "0 of 5 labelled"
        )
        await opened.press("2", "Digit2")
        await opened.press("a", "KeyA")  # The tenth class.
        await opened.press("z", "KeyZ")  # There are fewer.
        assert await _labels(opened) == ['big "dog", old', "j", "", "", ""]
        await opened.press("z", "KeyZ", CTRL)
        assert await _labels(opened) == ['big "dog", old', "", "", "", ""]
        await opened.press("ArrowRight")
        await opened.press("&", "Digit1")  # A French keyboard.
        await opened.press("ArrowLeft")
        await opened.press("Delete")
        assert await _labels(opened) == ['big "dog", old', "", "", "", ""]
        await opened.press("ArrowLeft")
        await opened.press("ArrowLeft")
        await opened.press("ArrowLeft")
        await opened.press("1")  # The first image; then on to those without a label.
        for key in "3123":
            await opened.press(key)
        assert await _labels(opened) == ["cat", "c", "cat", 'big "dog", old', "c"]
        assert await opened.value("document.getElementById('progress').value") == 5
        text = await _saved(opened, tmp_path)
        rows = [list(row) for row in table.rows]
        for row, label in zip(table.chosen, ["cat", "c", "cat", 'big "dog", old', "c"]):
            rows[row][1] = label
        assert list(csv.reader(io.StringIO(text))) == rows
        assert list(csv.reader(io.StringIO(text)))[1] == [
            "1.png", "owl", "random", "1", 'a "note",\nof two lines'
        ]  # fmt: skip

    drive(work)


@in_a_browser
def test_entering_classes_and_coming_back(tmp_path):
    html, _ = _written()
    (tmp_path / "page.html").write_text(html, encoding="utf-8")

    async def add(opened, name):
        await opened.click("#new-class")
        await opened.type(name)
        await opened.click("#add button")

    async def classes(opened):
        return json.loads(await opened.value("JSON.stringify(classes)"))

    async def work(opened):
        await opened.open(tmp_path / "page.html", 400, 860)
        assert await opened.value("document.documentElement.scrollWidth") == 400
        for name in ("owl", " <b>bat</b> ", "wrong", "owl", "  "):
            await add(opened, name)
        assert await classes(opened) == ["owl", "<b>bat</b>", "wrong"]
        await opened.click("[aria-label='Remove class wrong']")
        assert await classes(opened) == ["owl", "<b>bat</b>"]
        # A key that is typed into the field is no label.
        await opened.click("#new-class")
        await opened.press("1")
        assert await _labels(opened) == [""] * 5
        await opened.click("[data-name='<b>bat</b>']")
        await opened.click("#grid li:nth-child(4) button")
        await opened.press("1")
        assert await _labels(opened) == ["<b>bat</b>", "", "", "owl", ""]
        await opened.open(tmp_path / "page.html")
        assert await _labels(opened) == ["<b>bat</b>", "", "", "owl", ""]
        assert await classes(opened) == ["owl", "<b>bat</b>"]
        assert not await opened.value("document.querySelector('b')")
        assert await opened.value("isStored && !isSaved")  # So leaving is no loss.
        # As another tab does it.
        await opened.value(
            "localStorage.setItem(data.key, JSON.stringify("
            "{labels: ['owl', 'owl', '', '', 'bat'], classes: ['owl']})); "
            "dispatchEvent(new StorageEvent('storage', {key: data.key}))"
        )
        assert await _labels(opened) == ["owl", "owl", "", "", "bat"]
        assert await classes(opened) == ["owl", "bat"]
        assert await opened.value("document.getElementById('count').textContent") == (
            "3 of 5 labelled"
        )
        # Every control has a name, and nothing can be seen only by its colour.
        unnamed = await opened.value(
            "[...document.querySelectorAll('button, input')].filter((each) => "
            "!each.textContent.trim() && !each.labels?.length "
            "&& !each.getAttribute('aria-label')).length"
        )
        assert unnamed == 0

    drive(work)
