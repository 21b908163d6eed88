// The five stages as a row of cards: what stands in each slot, and how much passes through it now.

import { element, setText } from "./dom.js";
import { CounterHistory } from "./series.js";
import { HISTORY_MS, Spark } from "./spark.js";
import { bytesPerSecond, count, milliseconds, UNKNOWN } from "./units.js";

const RATE_WINDOW_MS = 5_000;
// Rules are evaluated every few seconds at most: only over a longer time is that a rate.
const EVALUATION_WINDOW_MS = 60_000;

// `facts` are pairs of a word and a text; `now(counter)` is that counter's rate per second.
const STAGES = [
  {
    slot: "ingest",
    title: "Ingest",
    counter: "samples_total",
    unit: "samples/s",
    facts: (stage, now) => [
      ["requests", perSecond(now("requests_total"))],
      ["received", bytesPerSecond(now("bytes_total"))],
      ["refused", count(stage.refused_total)],
    ],
  },
  {
    slot: "queue",
    title: "Queue",
    counter: "samples_total",
    unit: "samples/s",
    depth: "depth_records",
    facts: (stage) => [
      ["partitions", count(stage.partitions)],
      ["ack level", word(stage.ack)],
    ],
  },
  {
    slot: "storage",
    title: "Storage",
    counter: "samples_total",
    unit: "samples/s",
    facts: (stage, now) => [
      ["batches", perSecond(now("batches_total"))],
      ["commits", perSecond(now("commits_total"))],
      ["stored", count(stage.samples_total)],
    ],
  },
  {
    slot: "query",
    title: "Query",
    counter: "queries_total",
    unit: "queries/s",
    facts: (stage, now) => [
      ["last took", milliseconds(stage.last_ms)],
      ["samples read", perSecond(now("samples_read_total"))],
      ["errors", count(stage.errors_total)],
    ],
  },
  {
    slot: "alert",
    title: "Alert",
    counter: "evaluations_total",
    unit: "checks/min",
    unitSeconds: 60,
    windowMs: EVALUATION_WINDOW_MS,
    facts: (stage) => [
      ["firing", firing(stage.firing)],
      ["rules", count(stage.rules)],
      ["notified", count(stage.notifications_total)],
    ],
  },
];

export class Pipeline {
  constructor(list) {
    this.cards = STAGES.map((stage) => new StageCard(stage));
    list.replaceChildren(...this.cards.map(({ root }) => root));
  }

  show(status) {
    for (const card of this.cards) {
      const { slot } = card.stage;
      const filling = (status.slots ?? []).find((one) => one.slot === slot);
      card.show(filling, status.stages?.[slot] ?? {}, status.now_ms);
    }
  }
}

class StageCard {
  constructor(stage) {
    this.stage = stage;
    this.history = new CounterHistory(HISTORY_MS);
    this.name = element("span", { class: "variant", text: UNKNOWN });
    this.about = element("span", { class: "quiet about" });
    this.rate = element("strong", { class: "headline", text: UNKNOWN });
    this.spark = new Spark(`${stage.title}: rate over the last minute`);
    this.facts = element("dl", { class: "facts" });
    this.root = element(
      "li",
      { class: "card stage-card", "data-slot": stage.slot },
      element("h3", { text: stage.title }),
      element("p", { class: "filling" }, this.name, this.about),
      element("p", { class: "now" }, this.rate, element("span", { class: "quiet", text: stage.unit })),
      this.spark.root,
      ...(stage.depth ? [this.depthRow()] : []),
      this.facts,
    );
  }

  depthRow() {
    this.depth = element("strong", { text: UNKNOWN });
    this.depthSpark = new Spark(`${this.stage.title}: depth over the last minute`);
    return element(
      "div",
      { class: "depth" },
      element("p", {}, this.depth, element("span", { class: "quiet", text: " waiting" })),
      this.depthSpark.root,
    );
  }

  show(filling, counters, nowMs) {
    const { counter, windowMs = RATE_WINDOW_MS, unitSeconds = 1, depth } = this.stage;
    this.history.push(nowMs, counters);
    const now = (name) => this.history.rate(name, windowMs);
    const rate = now(counter);
    setText(this.name, word(filling?.name));
    setText(this.about, filling?.title ?? "");
    setText(this.rate, rate === null ? UNKNOWN : perSecondNumber(rate * unitSeconds));
    this.spark.show(this.history.rateLine(counter, windowMs), nowMs);
    this.root.classList.toggle("flowing", rate > 0);
    this.root.classList.toggle("alarmed", counters.firing > 0);
    if (depth) {
      setText(this.depth, count(counters[depth]));
      this.depthSpark.show(this.history.valueLine(depth), nowMs);
    }
    this.showFacts(this.stage.facts(counters, now));
  }

  showFacts(facts) {
    if (this.facts.childElementCount !== facts.length) {
      const rows = facts.map(([name]) => element("div", {}, element("dt", { text: name }), element("dd")));
      this.facts.replaceChildren(...rows);
    }
    facts.forEach(([, text], i) => setText(this.facts.children[i].lastElementChild, text));
  }
}

function perSecond(rate) {
  return rate === null ? UNKNOWN : `${perSecondNumber(rate)}/s`;
}

// A rate is a quotient: above ten its decimals are noise.
function perSecondNumber(rate) {
  return count(rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10);
}

function firing(alerts) {
  return alerts > 0 ? `⚠ ${count(alerts)}` : count(alerts);
}

function word(text) {
  return typeof text === "string" && text !== "" ? text : UNKNOWN;
}
