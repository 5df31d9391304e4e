"use strict";
// The bundle before this script leaves vegaEmbed behind.
const data = JSON.parse(document.getElementById("data").textContent);
const hover = document.getElementById("hover");

function line(text, kind) {
  const element = document.createElement("div");
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// What the pointer tells of an image: its picture, its name, its class, and what the run answers.
function describe(place, chart) {
  const [name, label] = data.images[place];
  const thumb = document.createElement("span");
  thumb.className = "thumb";
  showThumb(thumb, place, 96);
  hover.replaceChildren(thumb, line(name));
  if (label) hover.append(line(`class ${label}`));
  const answer = (chart.usermeta.answers || [])[place];
  if (answer) hover.append(line(`answered ${answer}`, answer === label ? "" : "wrong"));
}

function showThumb(element, place, side) {
  const { columns, rows } = data.album;
  element.style.backgroundSize = `${columns * side}px ${rows * side}px`;
  const [left, top] = [place % columns, Math.floor(place / columns)];
  element.style.backgroundPosition = `${-left * side}px ${-top * side}px`;
}

// Vega's tooltips, with texts as texts: names may hold anything.
function tooltip(chart) {
  return (handler, event, item, value) => {
    if (value === null || value === undefined || value === "") {
      hover.style.display = "none";
      return;
    }
    if (chart.usermeta && chart.usermeta.album) describe(item.datum.image, chart);
    else hover.replaceChildren(...Object.entries(value).map(([k, v]) => line(`${k}: ${v}`)));
    hover.style.display = "block";
    const { width, height } = hover.getBoundingClientRect();
    const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
    const top = Math.min(event.clientY + 14, innerHeight - height - 4);
    hover.style.left = `${Math.max(4, left)}px`;
    hover.style.top = `${Math.max(4, top)}px`;
  };
}

const views = new Map();

async function draw(element, theme) {
  const chart = data.charts[element.dataset.chart];
  let text = JSON.stringify(chart);
  for (const [name, color] of Object.entries(theme.colors)) {
    text = text.replaceAll(`"${name}"`, JSON.stringify(color));
  }
  const before = views.get(element);
  if (before) before.finalize();
  // Expressions are interpreted, since the page forbids making code of texts.
  const spec = JSON.parse(text);
  // The page tells the runs' colours once.
  if ((spec.usermeta || {}).by_run) spec.layer[0].encoding.color.legend = null;
  const columns = Math.max(1, Math.floor(element.clientWidth / 180));
  const config = { ...theme.config, legend: { ...theme.config.legend, columns } };
  const options = { actions: false, renderer: "svg", ast: true, config, tooltip: tooltip(chart) };
  views.set(element, await vegaEmbed(element, spec, options));
}

async function drawAll() {
  const { dataset } = document.documentElement;
  const name = dataset.theme;
  for (const element of document.querySelectorAll("[data-chart]")) {
    if (dataset.theme !== name) return; // The other theme is being drawn by now.
    await draw(element, data.themes[name]);
  }
  dataset.drawn = name;
}

function use(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = theme === "dark" ? "Light" : "Dark";
  return drawAll();
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
prefersDark.addEventListener("change", () => use(prefersDark.matches ? "dark" : "light"));
document.getElementById("theme").addEventListener("click", () => {
  use(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});
for (const thumb of document.querySelectorAll("[data-image]")) {
  showThumb(thumb, Number(thumb.dataset.image), 48);
}
use(prefersDark.matches ? "dark" : "light");
