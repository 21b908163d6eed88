// The journey through the phases of a craft, as its bench run measured it: one bar a phase, for the
// load that is chosen. Which phase serves now is marked. Figures come from the results file alone;
// without one there is no journey to show.

import { element } from "./dom.js";
import { count, milliseconds, UNKNOWN } from "./units.js";

/** The rows of one load: each phase with its bar's share of the longest, and whether it serves. */
export function journeyRows(load, serving) {
  const most = Math.max(0, ...load.phases.map(({ requests_per_s }) => requests_per_s ?? 0));
  return load.phases.map((phase) => ({
    name: phase.name,
    title: phase.title,
    share: most > 0 ? (phase.requests_per_s ?? 0) / most : 0,
    rate: phase.requests_per_s == null ? UNKNOWN : `${count(phase.requests_per_s)}/s`,
    p99: phase.p99_us == null ? UNKNOWN : milliseconds(phase.p99_us / 1000),
    failed: phase.success_ratio != null && phase.success_ratio < 0.999,
    success: phase.success_ratio,
    serves: phase.name === serving,
  }));
}

export class Journey {
  constructor({ section, chart, choice, source }) {
    Object.assign(this, { section, chart, choice, source, loads: [], serving: "" });
    choice.addEventListener("change", () => this.draw());
  }

  /** Takes what the results file says; nothing hides the section. */
  learn(journey) {
    this.loads = journey?.loads ?? [];
    this.section.hidden = this.loads.length === 0;
    this.choice.replaceChildren(...this.loads.map(({ name, title }) => element("option", { value: name, text: title })));
    const { machine, commit, command } = journey?.measured ?? {};
    this.source.textContent = [machine, commit && `commit ${commit}`, command].filter(Boolean).join(" · ");
    this.draw();
  }

  /** Marks the phase that serves. */
  mark(serving) {
    if (serving !== this.serving) {
      this.serving = serving;
      this.draw();
    }
  }

  draw() {
    const load = this.loads.find(({ name }) => name === this.choice.value) ?? this.loads[0];
    if (load) {
      this.chart.replaceChildren(...journeyRows(load, this.serving).map(rowOf));
    }
  }
}

function rowOf(row) {
  const bar = element("span", { class: "journey-bar" });
  bar.style.setProperty("--share", row.share.toFixed(4));
  const success = row.failed ? [element("span", { class: "fault", text: `${(row.success * 100).toFixed(1)} % answered` })] : [];
  return element(
    "li",
    { class: row.serves ? "journey-row serving" : "journey-row", "aria-current": row.serves ? "true" : undefined },
    element("span", { class: "journey-name", text: row.name }),
    element("span", { class: "journey-title quiet", text: row.serves ? `${row.title} · serves now` : row.title }),
    element("span", { class: "journey-track" }, bar),
    element("span", { class: "journey-figures" }, element("strong", { text: row.rate }), ` p99 ${row.p99} `, ...success),
  );
}
