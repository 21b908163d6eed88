// Draws the panels with uPlot: one card each, with a legend that is also the chart in words. All
// charts share one cursor, so that pointing at a spike shows the same second everywhere.

import { element, setText } from "./dom.js";
import { PANELS } from "./panels.js";
import { clock, clockMinutes, tick, UNKNOWN } from "./units.js";

const PLOT_HEIGHT_PX = 190;
const AXIS_WIDTH_PX = 74;
const FONT = "11px system-ui, sans-serif";
const CURSOR_GROUP = "machine";

// Byte axes are divided at powers of two, so that they read 256 KiB, 512 KiB and not 244 KiB.
const BINARY_STEPS = Array.from({ length: 52 }, (_, power) => 2 ** power);

const TIME_STEPS_S = [5, 10, 15, 30, 60, 120, 180, 300, 600];

export class Charts {
  constructor(grid) {
    this.cards = new Map(PANELS.map((panel) => [panel.id, new ChartCard(panel)]));
    grid.replaceChildren(...[...this.cards.values()].map(({ root }) => root));
    document.addEventListener("themechange", () => {
      palette.clear();
      this.cards.forEach((card) => card.repaint());
    });
  }

  /** Draws the panels over the seconds from..to and gives the number of samples drawn. */
  show(panels, from, to, emptyText) {
    let points = 0;
    for (const panel of panels) {
      points += this.cards.get(panel.id).show(panel, from, to, emptyText);
    }
    return points;
  }
}

class ChartCard {
  constructor({ id, title, subject, wide }) {
    this.title = title;
    this.headline = element("strong", { class: "headline", text: UNKNOWN });
    this.note = element("span", { class: "quiet note" });
    this.plot = element("div", { class: "plot", "aria-hidden": "true" });
    this.empty = element("p", { class: "empty", text: "waiting for samples" });
    this.legend = element("ul", { class: "legend", "aria-label": `${title}: lines` });
    this.root = element(
      "article",
      { class: wide ? "card chart wide" : "card chart", "aria-labelledby": `chart-${id}` },
      element("h3", { id: `chart-${id}`, text: title, title: subject }),
      element("p", { class: "now" }, this.headline, this.note),
      element("div", { class: "stage" }, this.plot, this.empty),
      this.legend,
    );
    this.hidden = new Set();
    this.entries = [];
    this.chart = null;
    this.shape = null;
    new ResizeObserver(() => this.resize()).observe(this.plot);
  }

  show(panel, from, to, emptyText) {
    setText(this.headline, panel.headline);
    setText(this.note, panel.note);
    this.panel = panel;
    this.from = from;
    this.to = to;
    const points = this.countPoints();
    this.showEmpty(points === 0 && !panel.lines.some(({ key }) => this.hidden.has(key)), emptyText);
    this.draw();
    this.showValues();
    return points;
  }

  // Axes without a line would show numbers that mean nothing.
  showEmpty(empty, words) {
    this.empty.hidden = !empty;
    this.plot.classList.toggle("blank", empty);
    setText(this.empty, words);
  }

  countPoints() {
    return this.panel.lines
      .filter(({ key }) => !this.hidden.has(key))
      .reduce((sum, { values }) => sum + values.filter((value) => value !== null).length, 0);
  }

  // uPlot fixes its series when it is made: another set of lines needs another chart.
  draw() {
    if (typeof window.uPlot !== "function") {
      this.showEmpty(true, "the drawing library did not arrive");
      return;
    }
    const shape = JSON.stringify(this.panel.lines.map(({ key, color, dash }) => [key, color, dash]));
    const data = this.data();
    if (shape === this.shape) {
      this.chart.setData(data);
      return;
    }
    this.shape = shape;
    this.chart?.destroy();
    this.chart = new window.uPlot(this.options(), data, this.plot);
    this.entries = this.panel.lines.filter(({ listed }) => listed).map((line) => this.entry(line));
    this.legend.replaceChildren(...this.entries.map(({ item }) => item));
  }

  data() {
    const seconds = Array.from({ length: this.to - this.from + 1 }, (_, i) => this.from + i);
    return [seconds, ...this.panel.lines.map(({ values }) => values)];
  }

  options() {
    const { scale, lines } = this.panel;
    return {
      width: Math.max(this.plot.clientWidth, 120),
      height: PLOT_HEIGHT_PX,
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, sync: { key: CURSOR_GROUP }, points: { size: 6 } },
      scales: {
        x: { time: true, range: () => [this.from, this.to] },
        y: { range: (_, low, high) => this.valueRange(low, high) },
      },
      axes: [timeAxis(), valueAxis(scale)],
      series: [{}, ...lines.map((line) => this.series(line))],
      hooks: { setCursor: [() => this.showValues()] },
    };
  }

  series(line) {
    const stroke = () => ink(line.color);
    return {
      label: line.label,
      show: !this.hidden.has(line.key),
      stroke,
      width: line.width,
      dash: line.dash ? [5, 4] : undefined,
      fill: line.fill ? () => `color-mix(in srgb, ${ink(line.color)} 14%, transparent)` : undefined,
      points: { show: false },
      spanGaps: false,
    };
  }

  // Called by uPlot with the extremes of the lines shown, or with nulls when there is nothing.
  valueRange(low, high) {
    const { min, max, maxAtLeast, padded } = this.panel.scale;
    if (low === null || high === null) {
      return [min ?? 0, max ?? maxAtLeast ?? 1];
    }
    if (padded) {
      const pad = Math.max(2, (high - low) * 0.2);
      return [Math.max(0, Math.floor(low - pad)), Math.ceil(high + pad)];
    }
    return [min, max ?? Math.max(high * 1.1, maxAtLeast)];
  }

  entry(line) {
    const value = element("span", { class: "value", text: UNKNOWN });
    const swatch = element("span", { class: line.dash ? "swatch dashed" : "swatch", "aria-hidden": "true" });
    swatch.style.setProperty("--line", `var(--${colorName(line.color)})`);
    const shown = !this.hidden.has(line.key);
    const button = element(
      "button",
      { type: "button", "aria-pressed": String(shown), title: "Show or hide this line" },
      swatch,
      element("span", { class: "label", text: line.label }),
      value,
    );
    button.addEventListener("click", () => this.toggle(line.key, button));
    return { key: line.key, value, item: element("li", {}, button) };
  }

  toggle(key, button) {
    const show = this.hidden.has(key);
    if (show) {
      this.hidden.delete(key);
    } else {
      this.hidden.add(key);
    }
    button.setAttribute("aria-pressed", String(show));
    const index = this.panel.lines.findIndex((line) => line.key === key);
    if (index >= 0) {
      this.chart.setSeries(index + 1, { show });
    }
  }

  // The legend shows the second under the cursor, and without a cursor the newest one.
  showValues() {
    const index = this.chart?.cursor.idx ?? null;
    const pointed = index !== null && this.chart.cursor.left >= 0;
    this.root.classList.toggle("pointed", pointed);
    this.root.dataset.at = pointed ? clock((this.from + index) * 1000) : "";
    const at = pointed ? index : this.newestIndex();
    for (const { key, value } of this.entries) {
      const line = this.panel.lines.find((one) => one.key === key);
      setText(value, this.panel.scale.format(line?.values[at] ?? null));
    }
  }

  // The newest second that any line has reached: one line alone may have ended (a disk was taken
  // away), and then its value is not known, however fresh its last one looks.
  newestIndex() {
    const { lines } = this.panel;
    for (let index = this.to - this.from; index >= 0; index -= 1) {
      if (lines.some(({ values }) => values[index] !== null)) {
        return index;
      }
    }
    return null;
  }

  resize() {
    const width = this.plot.clientWidth;
    if (this.chart && width > 0 && width !== this.chart.width) {
      this.chart.setSize({ width, height: PLOT_HEIGHT_PX });
    }
  }

  repaint() {
    this.chart?.redraw(false, true);
  }
}

function timeAxis() {
  return {
    font: FONT,
    stroke: () => ink("axis"),
    grid: { show: false },
    ticks: { stroke: () => ink("grid"), width: 1, size: 4 },
    size: 30,
    space: 64,
    incrs: TIME_STEPS_S,
    values: (_, splits) => {
      const name = splits.every((second) => second % 60 === 0) ? clockMinutes : clock;
      return splits.map((second) => name(second * 1000));
    },
  };
}

function valueAxis(scale) {
  return {
    font: FONT,
    stroke: () => ink("axis"),
    grid: { stroke: () => ink("grid"), width: 1 },
    ticks: { show: false },
    size: AXIS_WIDTH_PX,
    space: 36,
    incrs: scale.kind === "bytes" ? BINARY_STEPS : undefined,
    values: (_, splits) => splits.map((value) => tick(scale.format(value))),
  };
}

// A canvas cannot read CSS variables: the page's colours are looked up once for each theme.
const palette = new Map();

function ink(color) {
  const name = colorName(color);
  if (!palette.has(name)) {
    palette.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return palette.get(name);
}

const LINE_COLORS = 8;

function colorName(color) {
  return typeof color === "number" ? `line-${color % LINE_COLORS}` : color;
}
