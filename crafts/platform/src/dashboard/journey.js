// The journeys through the phases of the crafts, as their bench runs measured them: one bar a phase,
// for the load that is chosen. Which phase serves now is marked. Figures come from the results files
// alone; without one there is no journey to show.
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

/** The rows of one load of a craft: each phase with its bar's share of the longest, and whether it serves. */
export function journeyRows(craft, load, serving, labs = []) {
  const mine = load.phases.map((phase) => mineOf(craft, load, phase, labs));
  const figures = [...load.phases.map(({ figure }) => figure), ...mine.map((own) => own?.onBar?.at)];
  const most = Math.max(0, ...figures.map((figure) => figure ?? 0));
  const share = (figure) => (most > 0 ? Math.min(1, (figure ?? 0) / most) : 0);
  return load.phases.map((phase, index) => ({
    name: phase.name,
    title: phase.title,
    share: share(phase.figure),
    figure: phase.figure == null ? UNKNOWN : `${count(phase.figure)} ${load.unit}`,
    p99: phase.p99_us == null ? null : milliseconds(phase.p99_us / 1000),
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

/** The choice among all loads: a group a craft, in it an option a load. */
export function loadsByCraft(journeys) {
  return journeys.map(({ craft, slot, loads }) => ({
    label: `Craft ${craft} · ${slot}`,
    options: loads.map(({ name, title, less_is_better }) => ({
      value: `${craft}/${name}`,
      text: `${title.replaceAll("`", "")}${less_is_better ? " (less is better)" : ""}`,
    })),
  }));
}

// The learner's own, where its lab was measured: on the bars, as a step, or in words alone.
function mineOf(craft, load, phase, labs) {
  const measured = labs.find((lab) => formOf(lab, craft) === phase.name)?.measured;
  if (!measured) {
    return null;
  }
  const number = Number(phase.name.slice("phase".length));
  const before = load.phases.find(({ name }) => name === `phase${number - 1}`)?.figure;
  const isSame = measured.load === load.name && before > 0 && !load.less_is_better;
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
    Object.assign(this, { section, chart, choice, source, legend, journeys: [], labs: [], slots: new Map() });
    choice.addEventListener("change", () => this.draw());
  }

  /** Takes what the results files say; nothing hides the section. */
  learn(journeys) {
    this.journeys = (journeys ?? []).filter(({ loads }) => loads?.length > 0);
    this.section.hidden = this.journeys.length === 0;
    const groupOf = ({ label, options }) => element("optgroup", { label }, ...options.map((option) => element("option", option)));
    this.choice.replaceChildren(...loadsByCraft(this.journeys).map(groupOf));
    this.draw();
  }

  /** How many loads each craft has: "1:9,2:9". */
  told() {
    return this.journeys.map(({ craft, loads }) => `${craft}:${loads.length}`).join(",");
  }

  /** Marks the phases that serve: slot → name. */
  mark(slots) {
    const isNew = [...slots].some(([slot, name]) => this.slots.get(slot) !== name);
    if (isNew) {
      this.slots = slots;
      this.draw();
    }
  }

  /** Takes the labs with what the learner has measured. */
  compare(labs) {
    this.labs = labs;
    this.draw();
  }

  draw() {
    const [craft, name] = this.choice.value.split("/", 2);
    const journey = this.journeys.find((one) => String(one.craft) === craft) ?? this.journeys[0];
    if (!journey) {
      return;
    }
    const load = journey.loads.find((one) => one.name === name) ?? journey.loads[0];
    const { machine, commit, command } = journey.measured ?? {};
    this.source.textContent = [machine, commit && `commit ${commit}`, command].filter(Boolean).join(" · ");
    const rows = journeyRows(journey.craft, load, this.slots.get(journey.slot), this.labs);
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
    element("span", { class: "journey-figures" }, element("strong", { text: row.figure }), row.p99 ? ` p99 ${row.p99} ` : " ", ...success),
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
