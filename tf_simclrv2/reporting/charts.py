"""Plots as Vega-Lite specifications: data and encodings, which Vega draws in a page or as PNG.

Colours that differ between light and dark stand in them as ``@ink`` and so on; ``THEMES`` says
which. Fields have fixed names, since Vega-Lite reads points and brackets in names as paths; what
users named is only ever a value.
"""

import json
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

# Any, since JSON has no types.
Spec = Dict[str, Any]
Values = Sequence[Dict[str, Any]]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
# Tableau's ten, which are told apart on light and on dark.
COLORS = (
    "#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#eeca3b", "#ff9da6",
    "#9d755d", "#8a8580",
)  # fmt: skip
# The muted ink of either theme.
MUTED = "@muted"
# More classes than these get no legend: the pointer names them.
MOST_IN_A_LEGEND = 20
_MOST_WITH_NUMBERS = 15
_PNG_WIDTH, _PNG_SCALE = 520, 2


def _theme(ink: str, muted: str, line: str, cells: Sequence[str]) -> Dict[str, Any]:
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12}
    axis = {**text, "gridColor": line, "domainColor": muted, "tickColor": muted,
            "titleFontWeight": "normal", "labelLimit": 160}  # fmt: skip
    legend = {"titleColor": ink, "labelColor": ink, "labelLimit": 220, "labelFontSize": 12}
    return {
        "colors": {"@ink": ink, "@muted": muted, "@low": ink, "@high": cells[2]},
        "config": {
            "background": "transparent",
            "font": "system-ui, 'DejaVu Sans', sans-serif",
            "view": {"stroke": "transparent"},
            "axis": axis,
            "legend": {**legend, "orient": "top", "title": None, "columns": 3},
            "range": {"heatmap": list(cells[:2])},
        },
    }


# Ink, muted ink, lines; cells from empty to full, and the ink on full ones.
THEMES: Dict[str, Dict[str, Any]] = {
    "light": _theme("#1d2329", "#6b7480", "#e3e7eb", ("#eef3f8", "#0b4f94", "#ffffff")),
    "dark": _theme("#e6e9ed", "#98a2ae", "#323a44", ("#222a34", "#74b3f2", "#10151b")),
}


class Chart(NamedTuple):
    """A plot.

    Attributes:
      name: of its PNG, without suffix.
      title: what it shows.
      spec: in Vega-Lite, without a size in x: the page gives it what there is.
      about: how to read it; empty if that needs no words.
    """

    name: str
    title: str
    spec: Spec
    about: str = ""


def png(chart: Chart) -> bytes:
    """Draws a chart in the light theme, on white."""
    # Imported only here, since it starts a JavaScript engine.
    import vl_convert

    theme = THEMES["light"]
    text = json.dumps({**chart.spec, "width": _PNG_WIDTH, "title": chart.title})
    for name, color in theme["colors"].items():
        text = text.replace(f'"{name}"', json.dumps(color))
    config = {**theme["config"], "background": "white"}
    drawn: bytes = vl_convert.vegalite_to_png(text, config=config, scale=_PNG_SCALE)
    return drawn


def _spec(values: Values, height: int, **rest: Any) -> Spec:
    return {
        "$schema": _SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": list(values)},
        **rest,
    }


def _quantity(field: str, title: str, **rest: Any) -> Spec:
    """A channel of numbers."""
    axis = {"title": title, "tickCount": 5, **rest.pop("axis", {})}
    scale = {"zero": False, "nice": True, **rest.pop("scale", {})}
    return {"field": field, "type": "quantitative", "axis": axis, "scale": scale, **rest}


def shares(field: str, title: str, **scale: Any) -> Spec:
    """A channel of shares, shown in percent."""
    return _quantity(field, title, axis={"format": ".2~%"}, scale=scale)


def color_of(names: Sequence[str], all_names: Sequence[str]) -> Spec:
    """A channel that gives each name its own colour, the same one in all charts.

    Args:
      names: those of this chart.
      all_names: those that colours are given to.
    """
    colors = [COLORS[all_names.index(name) % len(COLORS)] for name in names]
    legend: Optional[Spec] = {} if 1 < len(names) <= MOST_IN_A_LEGEND else None
    scale = {"domain": list(names), "range": colors}
    return {"field": "name", "type": "nominal", "scale": scale, "legend": legend}


def lines(
    values: Values,
    names: Sequence[str],
    y: str,
    guesses: Sequence[Tuple[float, str]] = (),
    share: bool = False,
) -> Spec:
    """Curves by training step.

    Args:
      values: ``x``, ``y`` and ``name`` of each point.
      names: that colours are given to.
      y: what is shown.
      guesses: what guessing gives, drawn as dashed lines of these colours.
      share: whether it is a share, shown in percent.
    """
    there = [name for name in names if any(each["name"] == name for each in values)]
    encoding = {
        "x": _quantity("x", "step"),
        "y": shares("y", y) if share else _quantity("y", y),
        "color": color_of(there, names),
        "tooltip": [{"field": "name", "title": "run"}, {"field": "x", "title": "step"},
                    {"field": "y", "title": y, "format": ".4~g"}],
    }  # fmt: skip
    mark = {"type": "line", "point": {"size": 14}, "strokeWidth": 1.8, "clip": True}
    layers: List[Spec] = [{"mark": mark, "encoding": encoding}]
    for value, color in guesses:
        layers.append(_at(value, {"type": "rule", "strokeDash": [5, 4], "color": color}))
    if guesses:
        # Once, as lines may be near one another.
        text = {"type": "text", "text": "guessing", "align": "right", "dy": -6, "x": "width",
                "color": MUTED, "fontSize": 11}  # fmt: skip
        layers.append(_at(max(guesses)[0], text))
    # The page tells the runs' colours once, above all of their charts.
    return _spec(values, 190, layer=layers, usermeta={"by_run": True})


def _at(value: float, mark: Spec) -> Spec:
    """A layer with one mark, at a value of y."""
    at = {"y": {"field": "y", "type": "quantitative"}}
    return {"data": {"values": [{"y": value}]}, "mark": mark, "encoding": at}


def intervals(values: Values, names: Sequence[str]) -> Spec:
    """Accuracies with their intervals, a line each.

    Args:
      values: ``label``, ``y``, ``low`` and ``high`` (None if there is no interval), and ``name``.
      names: that colours are given to.
    """
    rows = [each["label"] for each in values]
    there = [name for name in names if any(each["name"] == name for each in values)]
    color = {**color_of(there, names), "legend": None}
    axis = {"title": None, "labelLimit": 150, "labelFontSize": 12}
    row = {"field": "label", "type": "nominal", "sort": rows, "axis": axis}
    tooltip = [{"field": "label", "title": "run"}, _percent("y", "top-1"), _percent("low", "from"),
               _percent("high", "to")]  # fmt: skip
    bounds = {"x": shares("low", "top-1"), "x2": {"field": "high"}, "y": row, "color": color}
    dots = {"x": shares("y", "top-1"), "y": row, "color": color, "tooltip": tooltip}
    return _spec(
        values,
        28 * len(rows) + 20,
        layer=[
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": bounds},
            {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
             "encoding": dots},
        ],
    )  # fmt: skip


def _percent(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "format": ".1%"}


def by_labels(values: Values, names: Sequence[str]) -> Spec:
    """Accuracy by number of labelled images, on a logarithmic axis.

    Args:
      values: ``x``, ``y``, ``low`` and ``high`` of each point, and ``name`` of its curve.
      names: of the curves.
    """
    counts = sorted({each["x"] for each in values})
    axis = {"values": counts, "format": ",d", "grid": False}
    scale = {"type": "log", "nice": False, "padding": 14}
    x = _quantity("x", "labelled images", axis=axis, scale=scale)
    color = color_of(names, names)
    tooltip = [{"field": "name", "title": "of"}, {"field": "x", "title": "labels"},
               _percent("y", "top-1"), _percent("low", "from"), _percent("high", "to")]  # fmt: skip
    bounds = {"x": x, "y": shares("low", "top-1"), "y2": {"field": "high"}, "color": color}
    points = {"x": x, "y": shares("y", "top-1"), "color": color, "tooltip": tooltip}
    return _spec(
        values,
        280,
        layer=[
            {"mark": {"type": "rule", "opacity": 0.5, "strokeWidth": 2}, "encoding": bounds},
            {"mark": {"type": "line", "point": {"size": 45, "filled": True}}, "encoding": points},
        ],
    )


def confusion(values: Values, classes: Sequence[str]) -> Spec:
    """A confusion matrix, coloured by the share of the true class.

    Args:
      values: ``true``, ``predicted``, ``count`` and ``share`` of each cell.
      classes: in their order.
    """
    axis = {"labelOverlap": True, "labelLimit": 90, "grid": False}
    names = {"type": "nominal", "sort": list(classes)}
    encoding = {
        "x": {"field": "predicted", "axis": {**axis, "title": "predicted", "labelAngle": -45},
              **names},
        "y": {"field": "true", "axis": {**axis, "title": "true"}, **names},
    }  # fmt: skip
    tooltip = [{"field": "true"}, {"field": "predicted"}, {"field": "count", "title": "images"},
               _percent("share", "of the true class")]  # fmt: skip
    scale = {"domain": [0, 1], "range": "heatmap"}
    color = {"field": "share", "type": "quantitative", "scale": scale, "legend": None}
    cells: Spec = {"mark": "rect", "encoding": {"color": color, "tooltip": tooltip}}
    layers = [cells]
    if len(classes) <= _MOST_WITH_NUMBERS:
        ink = {"condition": {"test": "datum.share > 0.5", "value": "@high"}, "value": "@low"}
        number = {"text": {"field": "count", "type": "quantitative"}, "color": ink}
        is_there = {"filter": "datum.count > 0"}
        layers.append({"transform": [is_there], "mark": {"type": "text", "fontSize": 11},
                       "encoding": number})  # fmt: skip
    height = max(180, min(560, 26 * len(classes)))
    return _spec(values, height, encoding=encoding, layer=layers)


def reliability(values: Values, names: Sequence[str]) -> Spec:
    """Accuracy by confidence; a calibrated classifier lies on the diagonal.

    Args:
      values: ``x`` (mean confidence), ``y`` (accuracy), ``images`` and ``name`` of each bin.
      names: of the curves.
    """
    whole = {"domain": [0, 1]}
    tooltip = [{"field": "name", "title": "of"}, _percent("x", "confidence"),
               _percent("y", "right"), {"field": "images"}]  # fmt: skip
    encoding = {
        "x": shares("x", "confidence", **whole),
        "y": shares("y", "right", **whole),
        "color": color_of(names, names),
    }
    sizes = {"field": "images", "type": "quantitative", "legend": None,
             "scale": {"range": [20, 220]}}  # fmt: skip
    diagonal = {"values": [{"x": 0, "y": 0}, {"x": 1, "y": 1}]}
    ends = {axis: {"field": axis, "type": "quantitative", "scale": whole} for axis in ("x", "y")}
    dashed = {"type": "line", "strokeDash": [5, 4], "color": "@muted"}
    return _spec(
        values,
        220,
        layer=[
            {"data": diagonal, "mark": dashed, "encoding": ends},
            {"mark": {"type": "line", "strokeWidth": 1.5}, "encoding": encoding},
            {"mark": {"type": "point", "filled": True, "opacity": 0.9},
             "encoding": {**encoding, "size": sizes, "tooltip": tooltip}},
        ],
    )  # fmt: skip


def risks(values: Values, names: Sequence[str]) -> Spec:
    """Share of wrong answers by share of images that are answered at all.

    Args:
      values: ``x`` (coverage), ``y`` (risk), ``threshold`` and ``name`` of each point.
      names: of the curves.
    """
    tooltip = [{"field": "name", "title": "of"}, _percent("x", "answered"), _percent("y", "wrong"),
               {"field": "threshold", "title": "confidence from", "format": ".3f"}]  # fmt: skip
    encoding = {
        "x": shares("x", "images answered, the surest first", domain=[0, 1]),
        "y": shares("y", "wrong among them", zero=True),
        "color": color_of(names, names),
        "tooltip": tooltip,
    }
    return _spec(values, 280, mark={"type": "line", "point": {"size": 14}}, encoding=encoding)


def cloud(values: Values, classes: Sequence[str]) -> Spec:
    """A map of images: a point each, which the pointer asks for its image.

    Args:
      values: ``x``, ``y``, ``name`` (the class; empty if it isn't known), ``wrong`` (whether the
        run answers another class) and ``image``, its place in the page's album.
      classes: that colours are given to, in their order.
    """
    hidden = {"axis": None, "scale": {"zero": False, "nice": False, "padding": 10}}
    colors = [COLORS[number % len(COLORS)] for number in range(len(classes))]
    scale = {"domain": [*classes, ""], "range": [*colors, "@muted"]}
    few = 1 < len(classes) <= MOST_IN_A_LEGEND
    legend = {"values": list(classes), "symbolOpacity": 1, "columns": 5} if few else None
    shape = {"field": "wrong", "type": "nominal", "legend": None,
             "scale": {"domain": [False, True], "range": ["circle", "cross"]}}  # fmt: skip
    picked = {"name": "picked", "bind": "legend", "select": {"type": "point", "fields": ["name"]}}
    return _spec(
        values,
        380,
        params=[picked] if few else [],
        mark={"type": "point", "filled": True, "size": 42},
        encoding={
            "x": {"field": "x", "type": "quantitative", **hidden},
            "y": {"field": "y", "type": "quantitative", **hidden},
            "color": {"field": "name", "type": "nominal", "scale": scale, "legend": legend},
            "shape": shape,
            "opacity": {"condition": {"param": "picked", "value": 0.85}, "value": 0.07}
            if few
            else {"value": 0.85},
            "tooltip": {"field": "image", "type": "quantitative"},
        },
    )
