"""The page of a report: what it holds, and how it looks, in a headless Chromium."""

import asyncio
import io
import itertools
import json
import re
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from tests.labelling.browser import CHROMIUM, drive
from tests.reporting import files
from tf_simclrv2.reporting import charts, maps
from tf_simclrv2.reporting.album import TILE, Album, address, picture
from tf_simclrv2.reporting.charts import Chart
from tf_simclrv2.reporting.images import Images, Sample
from tf_simclrv2.reporting.maps import Map
from tf_simclrv2.reporting.page import Charts
from tf_simclrv2.reporting.report import report
from tf_simclrv2.reporting.runs import open_runs

IMAGES = 40
# No name of a file holds a slash.
RUN = files.HOSTILE.replace("/", "|")
CLASSES = [files.HOSTILE, "a[b].c", "owl"]


class NoImages(Images):
    """Images that are not read from anywhere: their maps, album and pictures are made up.

    Args:
      runs: names of the runs whose maps are drawn.
      count: how many images.
      side: of a picture that stands by itself; it is of noise, of which JPEG saves nothing.
    """

    about = "Some images."
    names = classes = ()

    def __init__(self, runs, count, side):
        object.__setattr__(self, "frozen", dict.fromkeys(runs))
        object.__setattr__(self, "names", [f"{files.HOSTILE}{n}.png" for n in range(count)])
        object.__setattr__(self, "classes", [CLASSES[n % 3] for n in range(count)])
        pixels = np.random.RandomState(0).randint(0, 256, [side, side, 3], np.uint8)
        object.__setattr__(self, "_picture", picture(pixels))

    def maps(self):
        places = np.random.RandomState(0).randn(len(self.names), 2)
        alike = np.tile(np.arange(1, 7), [8, 1])
        return {name: Map(places, alike, "") for name in self.frozen}

    def charts(self, found, answers):
        drawn = []
        for name, one in found.items():
            wrong = [n % 7 == 0 for n in range(len(self.names))]
            spec = charts.cloud(maps.points(one.places, self.classes, wrong), CLASSES)
            spec["usermeta"] = {"album": True, "answers": ["owl"] * len(self.names)}
            drawn.append(Chart(f"map_{name}", name, spec))
        return drawn

    def album(self):
        columns = int(len(self.names) ** 0.5) + 1
        shape = [columns * TILE, columns * TILE, 3]
        sheet = Image.fromarray(np.random.RandomState(0).randint(0, 256, shape, np.uint8))
        file = io.BytesIO()
        sheet.save(file, format="JPEG", quality=80)
        return Album(address(file.getvalue()), columns, len(self.names))

    def samples(self, found):
        rows = [(name, [(n, self.names[n], n == 2) for n in range(1, 7)]) for name in found]
        return [Sample(0, self.names[0], self.classes[0], rows)]

    def tooltips(self):
        return [[name, label] for name, label in zip(self.names, self.classes)]

    def pictures(self, names, split=None):
        return dict.fromkeys(names, self._picture)


def _run(root):
    """A run of everything, whose names hold what HTML and Vega-Lite could take for their own."""
    run = files.pretraining(root / RUN, CLASSES)
    steps = range(5, 55, 5)
    files.log(run, {"step": steps, "contrast_loss": [9 / s for s in steps], files.HOSTILE: steps,
                    "contrast_accuracy": [s / 60 for s in steps],
                    "monitor_rank_h": ["" if s % 10 else s for s in steps]})  # fmt: skip
    given = [(f"{files.HOSTILE}{n}.png", CLASSES[n % 3], CLASSES[n % 2], 0.3 + n / 60)
             for n in range(IMAGES)]  # fmt: skip
    files.evaluate(run, CLASSES, given)
    files.write(run / "environment.json", {"command": files.HOSTILE, "python": "3"})
    (run / "audit").mkdir()
    files.write(run / "audit" / "audit.json", {
        "found": {"labels": 1, "leaks": 0}, "images": {files.HOSTILE: 40}, "labels_judged": 40,
    })  # fmt: skip
    (run / "audit" / "wrong_labels.csv").write_text(
        f'image,split,label,suggested,margin,looks_wrong\n0.png,test,"{CLASSES[1]}",owl,-0.9,yes\n'
    )
    pair = "image,split,label,other_image,other_split,other_label,similarity,leaks,labels_differ"
    (run / "audit" / "duplicates.csv").write_text(
        f"{pair}\n1.png,train,owl,2.png,test,a[b].c,0.999,yes,yes\n"
    )
    return run


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    runs = open_runs([str(_run(root))], "runs")
    html, found = report(runs, NoImages([runs[0].name], IMAGES, side=8), files.HOSTILE)
    path = root / "report.html"
    path.write_text(html, encoding="utf-8")
    return path, html, found


def test_names_are_shown_and_never_executed(written):
    _, html, _ = written
    assert "<img src=x" not in html and "49}}" not in html
    assert html.count("</script>") == html.count("<script") == 3
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in html
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["images"][1] == [f"{files.HOSTILE}1.png", CLASSES[1]]


def test_findings_of_an_audit_have_their_images(written):
    section = written[1].split('id="audit"')[1]
    assert re.findall(r'<img src="data:[^"]*" alt="([^"]*)"', section) == [
        "0.png", "1.png", "2.png"
    ]  # fmt: skip
    assert "Images to evaluate on that are also trained on" in section
    assert "owl, or a[b].c?" in section and "train and test" in section


def test_the_page_asks_for_nothing_from_outside(written):
    markup = re.sub(r"<script>.*?</script>", "", written[1], flags=re.DOTALL)
    assert "default-src 'none'" in markup
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\((?!"data:)', markup)


def test_plots_have_names_that_any_file_system_takes(written):
    names = [chart.name for chart in written[2]]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,90}", name) for name in names)
    assert len({name.lower() for name in names}) == len(names)
    found = Charts()
    found.all([Chart(name, "", {}) for name in ("a/b", "A?b", "..", "", "a-b_2", "a-b")])
    assert [chart.name for chart in found.found] == [
        "a-b", "A-b_2", "chart", "chart_2", "a-b_2_2", "a-b_3"
    ]  # fmt: skip


def test_every_plot_can_be_drawn_as_a_picture(written):
    for chart in written[2]:
        pixels = np.asarray(Image.open(io.BytesIO(charts.png(chart))).convert("L"))
        assert pixels.shape[1] > 800 and pixels.std() > 3, chart.name


def test_what_is_not_there_is_left_out_with_a_sentence(tmp_path):
    runs = open_runs([str(files.pretraining(tmp_path / "run"))], "runs")
    html, found = report(runs, None, "plots")
    assert found == []
    for sentence in ("None of these runs has been evaluated", "have logged nothing",
                     "No run has logged monitors", "No evaluation has kept", "--max_images=0",
                     "logged pairs of views", "has looked for wrong labels"):  # fmt: skip
        assert sentence in html
    assert "</html>" in html


def test_two_thousand_images_are_less_than_ten_megabytes(tmp_path):
    """Also of noise, whatever number of runs has answered on them."""
    paths = [files.pretraining(tmp_path / str(n), CLASSES) for n in range(4)]
    for path in paths:
        given = [(f"{files.HOSTILE}{n}.png", CLASSES[n % 3], "owl", n / 2000) for n in range(2000)]
        files.evaluate(path, CLASSES, given)
        files.audit(path, 100)
    runs = open_runs(list(map(str, paths)), "runs")
    images = NoImages([run.name for run in runs], 2000, side=400)
    html, _ = report(runs, images, "plots")
    # Mistakes and unsure answers of each run, and what two audits have found.
    assert html.count('<img src="data:') == 4 * 24 + 2 * (8 + 2 * 4 + 2 * 4 + 8)
    assert len(html) < 10_000_000


in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("tornado") is None,
    reason="there is no Chromium on this machine, or no Tornado, which ipykernel brings",
)
# Charts that are drawn with something in them, and pictures that have been decoded.
_DRAWN = """[...document.querySelectorAll('[data-chart]')].filter((each) =>
  each.querySelectorAll('svg .mark-symbol path, svg .mark-line path, svg .mark-rect path').length
  && each.querySelector('svg').getBoundingClientRect().width > 100).length"""
_BLANK = """[...document.images].filter((each) => !each.complete || !each.naturalWidth).length"""

# Backgrounds of thumbnails, which are no images of the document: how wide each one decodes.
_THUMBS = """Promise.all([...document.querySelectorAll('.thumb')].map(async (each) => {
  const image = new Image();
  image.src = (getComputedStyle(each).backgroundImage.match(/^url\\("(.*)"\\)$/) || [])[1] || "";
  await image.decode().catch(() => null);
  return image.naturalWidth;
})).then((widths) => { document.documentElement.dataset.thumbs = JSON.stringify(widths); })"""


async def _thumbs(page):
    """How wide the pictures are that thumbnails are cut from."""
    await page.value(f"void {_THUMBS}")
    return json.loads(await _told(page, "thumbs"))


async def _told(page, name):
    """What the page notes of itself, when it does."""
    for _ in range(300):
        value = await page.value(f"document.documentElement.dataset.{name}")
        if value:
            return value
        await asyncio.sleep(0.1)
    raise AssertionError(f"the page told no {name}")


async def _drawn(page, theme):
    for _ in range(300):
        if await page.value("document.documentElement.dataset.drawn") == theme:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the charts were not drawn in {theme}")


@in_a_browser
def test_everything_is_drawn_at_any_width_in_light_and_dark(written):
    path, _, found = written

    async def work(page):
        await page.call("Log.enable")
        await page.call("Runtime.enable")
        await page.call("Network.enable")
        for theme, width in itertools.product(("light", "dark"), (1280, 400)):
            media = [{"name": "prefers-color-scheme", "value": theme}]
            await page.call("Emulation.setEmulatedMedia", features=media)
            await page.open(path, width)
            await _drawn(page, theme)
            assert await page.value(_DRAWN) == len(found)
            assert await page.value(_BLANK) == 0
            # The picture of the page's first sample, and of its six neighbours.
            assert await _thumbs(page) == [7 * TILE] * 7
            assert await page.value("document.documentElement.scrollWidth") == width
            assert await page.value("document.querySelectorAll('img[src=x]').length") == 0
            ground = await page.value("getComputedStyle(document.body).backgroundColor")
            assert ground == {"light": "rgb(244, 245, 247)", "dark": "rgb(20, 24, 29)"}[theme]
        await _point_at_the_map(page)
        await page.click("#theme")
        await _drawn(page, "light")
        assert await page.value("document.getElementById('theme').innerText") == "Dark"
        assert [each for each in page.events if _is_problem(each)] == []

    drive(work)


async def _point_at_the_map(page):
    """Moves the pointer to a point of the map, which shows its image and names."""
    point = "document.querySelector('[data-chart^=map] svg .mark-symbol path')"
    await page.value(f"{point}.scrollIntoView({{block: 'center'}})")
    x, y = await page.value(
        f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
        f"({point}.getBoundingClientRect())"
    )
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    shown = await page.value("document.getElementById('hover').innerText")
    assert files.HOSTILE in shown and "answered owl" in shown
    assert await page.value("document.querySelector('#hover .thumb').offsetWidth") == 96


def _is_problem(event):
    """Whether the console tells of an error, or something was asked for that is not the page."""
    if event["method"] == "Network.requestWillBeSent":
        return not event["params"]["request"]["url"].startswith(("file:", "data:", "blob:"))
    if event["method"] == "Log.entryAdded":
        return event["params"]["entry"]["level"] in ("error", "warning")
    if event["method"] == "Runtime.consoleAPICalled":
        return event["params"]["type"] in ("error", "warning", "assert")
    return event["method"] == "Runtime.exceptionThrown"
