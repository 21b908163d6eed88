// A small chart of the last minute and a half.

import { drawn } from "./dom.js";

export const HISTORY_MS = 90_000;

const SPARK_WIDTH = 120;
const SPARK_HEIGHT = 32;

// A line without axes. Its figures stand beside it in words, so a screen reader may pass over it.
export class Spark {
  constructor(title) {
    this.area = drawn("path", { class: "spark-area" });
    this.marks = drawn("path", { class: "spark-marks", "vector-effect": "non-scaling-stroke" });
    this.line = drawn("path", { class: "spark-line", "vector-effect": "non-scaling-stroke" });
    this.root = drawn(
      "svg",
      {
        class: "spark",
        viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      },
      drawn("title", { text: title }),
      this.area,
      this.marks,
      this.line,
    );
  }

  /** Points are pairs of a time and a value; `marksMs` are times at which something happened. */
  show(points, nowMs, marksMs = []) {
    const top = Math.max(...points.map(([, value]) => value), 1e-9) * 1.1;
    const across = (atMs) => SPARK_WIDTH * (1 - (nowMs - atMs) / HISTORY_MS);
    const place = ([atMs, value]) => {
      const x = across(atMs);
      const y = SPARK_HEIGHT - 1 - (value / top) * (SPARK_HEIGHT - 2);
      return `${x.toFixed(1)} ${y.toFixed(1)}`;
    };
    const places = points.map(place);
    const line = places.length < 2 ? "" : `M${places.join("L")}`;
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", line && areaUnder(line, places));
    this.marks.setAttribute("d", marksMs.map((atMs) => `M${across(atMs).toFixed(1)} 0V${SPARK_HEIGHT}`).join(""));
  }
}

function areaUnder(line, places) {
  const [first, last] = [places[0], places.at(-1)].map((place) => place.split(" ")[0]);
  return `${line}L${last} ${SPARK_HEIGHT}L${first} ${SPARK_HEIGHT}Z`;
}
