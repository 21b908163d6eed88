// The course and how far the learner is in it, as the server read it from this machine's own file:
// a map of the labs, and the ratios that the learner's checks measured. A ratio holds in its own
// run and under its own load; what is drawn of it here never pretends to be a rate.

import { element } from "./dom.js";
import { count } from "./units.js";

/** A craft's phases fill its slot as phase0, phase1, …: "1.3" → "phase3" on the journey of craft 1. */
export function formOf(lab, craft) {
  const [, of, number] = /^(\d+)\.(\d+)$/.exec(lab.phase) ?? [];
  return Number(of) === craft ? `phase${number}` : null;
}

/** 1.9 → "1.90 ×", 15234 → "15.2 k ×". */
export function times(ratio) {
  return `${figure(ratio)} ×`;
}

/** "1.90 × [1.80, 2.00]" */
export function timesWithin({ ratio, interval }) {
  return `${times(ratio)} [${interval.map(figure).join(", ")}]`;
}

/** How much of the reference's step a ratio is, on a logarithmic scale: 0 the form before, 1 the reference. */
export function stepShare(ratio, reference) {
  const whole = Math.log(reference?.ratio);
  return whole > 0 && ratio > 0 ? Math.log(ratio) / whole : null;
}

/** The learner's ratio as a step: the middle and the ends of its interval, as shares of the reference's. */
export function stepOf(measured) {
  const at = stepShare(measured.ratio, measured.reference);
  if (at === null) {
    return null;
  }
  const [low, high] = measured.interval.map((end) => stepShare(end, measured.reference) ?? at);
  return { at, low, high };
}

/** Whether nothing at all was begun. */
export function isUntouched(labs) {
  return labs.every(({ state }) => state === "open");
}

/** The labs by what they belong to: [["Phase 0", […]], ["Craft 1", […]]]. */
export function groups(labs) {
  const found = new Map();
  for (const lab of labs) {
    const craft = lab.phase.split(".", 1)[0];
    const title = craft === "0" ? "Phase 0" : `Craft ${craft}`;
    found.set(title, [...(found.get(title) ?? []), lab]);
  }
  return [...found];
}

/** "3 of 10 labs passed" */
export function summary(labs) {
  const passed = labs.filter(({ state }) => state === "passed").length;
  return `${passed} of ${labs.length} labs passed`;
}

export class Course {
  constructor({ section, begin, told, map, next, sum }) {
    Object.assign(this, { section, begin, told, map, next, sum, labs: [], known: "" });
  }

  /** Takes what the server says; where it knows of no course, the section hides. True where something is new. */
  learn(progress) {
    const said = JSON.stringify(progress);
    if (said === this.known) {
      return false;
    }
    this.known = said;
    this.labs = progress?.labs ?? [];
    this.section.hidden = this.labs.length === 0;
    const untouched = isUntouched(this.labs);
    this.begin.hidden = !untouched;
    this.told.hidden = untouched;
    this.sum.textContent = summary(this.labs);
    const next = progress?.next?.command;
    this.next.replaceChildren(...(next ? [" · next: ", element("code", { text: next })] : []));
    this.map.replaceChildren(...(untouched ? [] : groups(this.labs).map(groupOf)));
    return true;
  }
}

function groupOf([title, labs]) {
  return element(
    "section",
    { class: "course-group" },
    element("h3", { text: title }),
    element("ol", { class: "course-labs" }, ...labs.map(labOf)),
  );
}

function labOf(lab) {
  const { measured } = lab;
  const under = measured?.load ? ` under ${measured.load}` : "";
  const ratio = measured ? [element("span", { class: "course-ratio", text: `${timesWithin(measured)}${under}` })] : [];
  const last = lab.last ? [element("span", { class: "course-ratio", text: `last check: ${lab.last}` })] : [];
  return element(
    "li",
    { class: "course-lab", "data-lab": lab.state, title: lab.slug },
    element("span", { class: "course-mark", "aria-hidden": "true", text: lab.mark }),
    element("span", { class: "course-number quiet", text: lab.phase }),
    element(
      "span",
      { class: "course-about" },
      element("span", { class: "course-title", text: lab.title }),
      " ",
      element("span", { class: "course-words", text: lab.words }),
      ...ratio,
      ...last,
    ),
  );
}

function figure(ratio) {
  return ratio < 99.95 ? ratio.toFixed(ratio < 9.995 ? 2 : 1) : count(Math.round(ratio));
}
