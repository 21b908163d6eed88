// Who reads the log: each group with its members, what each of them holds, and how far behind it is.
//
// A rebalance is seen as a generation that has changed since the last answer. It stands as a line in
// the chart of the lag, since it is there that it shows, and as a sentence below.

import { element, setText } from "./dom.js";
import { CounterHistory } from "./series.js";
import { HISTORY_MS, Spark } from "./spark.js";
import { clock, count, duration, UNKNOWN } from "./units.js";

// So many sentences are kept.
const EVENTS_MAX = 5;
// A log may have a thousand partitions: those that are furthest behind are shown.
const ROWS_MAX = 16;

/** A group's partitions, those that are furthest behind first where there are too many; each with who holds it. */
export function partitionRows(group, rowsMax = ROWS_MAX) {
  const rows = group.partitions.map(({ partition, committed, end, lag }) => ({
    partition,
    committed,
    end,
    lag,
    holder: group.members.find(({ partitions }) => partitions.includes(partition))?.member ?? null,
  }));
  if (rows.length <= rowsMax) {
    return rows;
  }
  const furthest = [...rows].sort((a, b) => b.lag - a.lag || a.partition - b.partition).slice(0, rowsMax);
  return furthest.sort((a, b) => a.partition - b.partition);
}

/** Records that the group has not committed, all partitions together. */
export function lagOf(group) {
  return group.partitions.reduce((sum, { lag }) => sum + lag, 0);
}

/** What has changed between two answers, in a sentence; null if nobody came, went or rejoined. */
export function rebalanceOf(before, after) {
  if (!before || before.generation === after.generation) {
    return null;
  }
  const names = (group) => group.members.map(({ member }) => member);
  const came = names(after).filter((name) => !names(before).includes(name));
  const went = names(before).filter((name) => !names(after).includes(name));
  const told = [came.length > 0 && `${came.join(", ")} joined`, went.length > 0 && `${went.join(", ")} left`].filter(Boolean);
  return `${after.group} is in generation ${after.generation}: ${told.length > 0 ? told.join(", ") : "a member began anew"}`;
}

export class Groups {
  constructor({ section, list, events }) {
    Object.assign(this, { section, list, eventList: events, cards: new Map(), events: [] });
  }

  names() {
    return [...this.cards.keys()];
  }

  /** Takes the groups as the status tells them; a server that does not tell shows none. */
  show(groups, nowMs) {
    const all = groups ?? [];
    this.section.hidden = all.length === 0;
    for (const name of this.names().filter((known) => !all.some(({ group }) => group === known))) {
      this.cards.get(name).root.remove();
      this.cards.delete(name);
    }
    for (const group of all) {
      this.card(group.group).show(group, nowMs, (event) => this.tell(event, nowMs));
    }
  }

  card(name) {
    if (!this.cards.has(name)) {
      const card = new GroupCard(name);
      this.cards.set(name, card);
      this.list.append(card.root);
    }
    return this.cards.get(name);
  }

  tell(text, nowMs) {
    this.events = [{ text, nowMs }, ...this.events].slice(0, EVENTS_MAX);
    const line = ({ text: words, nowMs: atMs }) =>
      element("li", {}, element("span", { class: "quiet", text: clock(atMs) }), ` ${words}`);
    this.eventList.replaceChildren(...this.events.map(line));
  }
}

class GroupCard {
  constructor(name) {
    this.history = new CounterHistory(HISTORY_MS);
    this.rebalancesMs = [];
    this.last = null;
    this.about = element("span", { class: "quiet" });
    this.lag = element("strong", { class: "headline", text: UNKNOWN });
    this.spark = new Spark(`${name}: lag over the last minute`);
    this.members = element("ul", { class: "group-members" });
    this.rows = element("tbody");
    const head = ["partition", "committed", "end", "lag", "member"].map((text) => element("th", { scope: "col", text }));
    this.root = element(
      "article",
      { class: "card group-card", "data-group": name },
      element("h3", { text: name }),
      element("p", {}, this.about),
      element("p", { class: "now" }, this.lag, element("span", { class: "quiet", text: "records behind" })),
      this.spark.root,
      this.members,
      element("div", { class: "group-scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...head)), this.rows)),
    );
  }

  show(group, nowMs, tell) {
    const event = rebalanceOf(this.last, group);
    if (event) {
      this.rebalancesMs.push(nowMs);
      tell(event);
    }
    this.last = group;
    this.rebalancesMs = this.rebalancesMs.filter((atMs) => nowMs - atMs < HISTORY_MS);
    const lag = lagOf(group);
    this.history.push(nowMs, { lag });
    setText(this.lag, count(lag));
    setText(this.about, `generation ${group.generation} · ${group.assignment} · ${many(group.rebalances, "rebalance")}`);
    this.spark.show(this.history.valueLine("lag"), nowMs, this.rebalancesMs);
    this.members.replaceChildren(...membersOf(group));
    this.rows.replaceChildren(...partitionRows(group).map(rowOf));
  }
}

function membersOf(group) {
  if (group.members.length === 0) {
    return [element("li", { class: "fault", text: "no members: nobody reads" })];
  }
  return group.members.map(({ member, generation, partitions, silent_ms: silentMs }) => {
    const holds = many(partitions.length, "partition");
    const behind = generation === group.generation ? "" : " · has yet to rejoin";
    const silent = silentMs >= 1000 ? ` · silent for ${duration(Math.round(silentMs / 1000))}` : "";
    return element("li", {}, element("strong", { text: member }), element("span", { class: "quiet", text: ` ${holds}${silent}${behind}` }));
  });
}

function rowOf({ partition, committed, end, lag, holder }) {
  const cells = [count(partition), committed === null ? UNKNOWN : count(committed), count(end), count(lag)];
  return element(
    "tr",
    lag > 0 ? { class: "behind" } : {},
    ...cells.map((text) => element("td", { class: "figure", text })),
    element("td", { class: holder ? "" : "fault", text: holder ?? "nobody" }),
  );
}

function many(number, of) {
  return `${count(number)} ${of}${number === 1 ? "" : "s"}`;
}
