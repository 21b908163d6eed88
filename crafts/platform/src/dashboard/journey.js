// The journey through the phases of a craft, as its bench run measured it: one bar a phase, for the
// load that is chosen. Which phase serves now is marked. Figures come from the results file alone;
// without one there is no journey to show.
//
// Beside a phase whose lab the learner has measured stands the learner's own ratio. It was measured
// against the form before, in one run, under the lab's own load. Where that is the load that is
// drawn, the ratio stands on the bars: so many times the bar before. Elsewhere it is drawn by
// itself, as a step between the form before and the reference.

import { formOf, stepOf, times, timesWithin } from "./course.js";
import { element } from "./dom.js";
import { count, milliseconds, UNKNOWN } from "./units.js";

// A step's track begins somewhat before the form before and ends somewhat behind the reference.
const STEP_MARGIN = 0.15;

/** The rows of one load: each phase with its bar's share of the longest, and whether it serves. */
export function journeyRows(load, serving, labs = []) {
  const mine = load.phases.map((phase) => mineOf(load, phase, labs));
  const rates = [...load.phases.map(({ requests_per_s }) => requests_per_s), ...mine.map((own) => own?.onBar?.at)];
  const most = Math.max(0, ...rates.map((rate) => rate ?? 0));
  const share = (rate) => (most > 0 ? Math.min(1, (rate ?? 0) / most) : 0);
  return load.phases.map((phase, index) => ({
    name: phase.name,
    title: phase.title,
    share: share(phase.requests_per_s),
    rate: phase.requests_per_s == null ? UNKNOWN : `${count(phase.requests_per_s)}/s`,
    p99: phase.p99_us == null ? UNKNOWN : milliseconds(phase.p99_us / 1000),
    failed: phase.success_ratio != null && phase.success_ratio < 0.999,
    success: phase.success_ratio,
    serves: phase.name === serving,
    mine: mine[index] && { ...mine[index], onBar: mine[index].onBar && mapped(mine[index].onBar, share) },
  }));
}

/** Where on a step's track a share of the step lies, from 0 to 1. */
export function onTrack(share) {
  return Math.min(1, Math.max(0, (share + STEP_MARGIN) / (1 + 2 * STEP_MARGIN)));
}

// The learner's own, where its lab was measured: on the bars, as a step, or in words alone.
function mineOf(load, phase, labs) {
  const measured = labs.find((lab) => formOf(lab) === phase.name)?.measured;
  if (!measured) {
    return null;
  }
  const number = Number(phase.name.slice("phase".length));
  const before = load.phases.find(({ name }) => name === `phase${number - 1}`)?.requests_per_s;
  const isSame = measured.load === load.name && before > 0;
  const [low, high] = measured.interval;
  return {
    words: wordsOf(measured),
    onBar: isSame ? { at: before * measured.ratio, low: before * low, high: before * high } : null,
    step: isSame ? null : stepOf(measured),
  };
}

function wordsOf({ ratio, interval, reference, load }) {
  const beside = [load && `under ${load}`, reference && `reference ${times(reference.ratio)}`].filter(Boolean);
  return `yours ${timesWithin({ ratio, interval })}${beside.length > 0 ? ` · ${beside.join(" · ")}` : ""}`;
}

function mapped({ at, low, high }, to) {
  return { at: to(at), low: to(low), high: to(high) };
}

export class Journey {
  constructor({ section, chart, choice, source, legend }) {
    Object.assign(this, { section, chart, choice, source, legend, loads: [], labs: [], serving: "" });
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

  /** Takes the labs with what the learner has measured. */
  compare(labs) {
    this.labs = labs;
    this.draw();
  }

  draw() {
    const load = this.loads.find(({ name }) => name === this.choice.value) ?? this.loads[0];
    if (!load) {
      return;
    }
    const rows = journeyRows(load, this.serving, this.labs);
    this.chart.replaceChildren(...rows.map(rowOf));
    this.legend.hidden = !rows.some(({ mine }) => mine);
  }
}

function rowOf(row) {
  const bar = element("span", { class: "journey-bar" });
  bar.style.setProperty("--share", row.share.toFixed(4));
  const success = row.failed ? [element("span", { class: "fault", text: `${(row.success * 100).toFixed(1)} % answered` })] : [];
  const onBar = row.mine?.onBar ? marksOf(row.mine.onBar) : [];
  return element(
    "li",
    { class: row.serves ? "journey-row serving" : "journey-row", "aria-current": row.serves ? "true" : undefined },
    element("span", { class: "journey-name", text: row.name }),
    element("span", { class: "journey-title quiet", text: row.serves ? `${row.title} · serves now` : row.title }),
    element("span", { class: "journey-track" }, bar, ...onBar),
    element("span", { class: "journey-figures" }, element("strong", { text: row.rate }), ` p99 ${row.p99} `, ...success),
    ...(row.mine ? [mineRow(row.mine)] : []),
  );
}

function mineRow({ words, step }) {
  const track = step
    ? [
        element("span", { class: "step-end", text: "before" }),
        element("span", { class: "step-track" }, endOf(0), endOf(1), ...marksOf(mapped(step, onTrack))),
        element("span", { class: "step-end", text: "reference" }),
      ]
    : [];
  return element("span", { class: "journey-mine" }, ...track, element("span", { class: "journey-words", text: words }));
}

function endOf(share) {
  const end = element("span", { class: "step-stop" });
  end.style.setProperty("--at", onTrack(share).toFixed(4));
  return end;
}

function marksOf({ at, low, high }) {
  const reach = element("span", { class: "mine-reach" });
  reach.style.setProperty("--low", low.toFixed(4));
  reach.style.setProperty("--high", high.toFixed(4));
  const mark = element("span", { class: "mine-mark" });
  mark.style.setProperty("--at", at.toFixed(4));
  return [reach, mark];
}
