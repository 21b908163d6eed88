// The current alerts and the rules behind them: two tables, which style.css turns into cards where
// the page is narrow.

import { element, setText } from "./dom.js";
import { clock, duration, milliseconds, UNKNOWN } from "./units.js";

// A state is told by its mark and its word; its colour only repeats it.
const MARKS = { firing: "▲", pending: "◔", inactive: "○" };
const URGENCY = ["firing", "pending", "inactive"];

// The label that carries the alert's name is its heading already.
const NAME_LABEL = "alertname";

export class AlertTables {
  constructor({ alerts, rules, news }) {
    this.alertsRoot = alerts;
    this.rulesRoot = rules;
    this.news = news;
    this.firing = null;
    alerts.replaceChildren(quiet("Not known yet."));
    rules.replaceChildren(quiet("Not known yet."));
  }

  showAlerts(alerts, nowMs) {
    const sorted = [...alerts].sort(byUrgency);
    const rows = sorted.map((alert) => alertRow(alert, nowMs));
    const heads = ["State", "Alert", "Labels", "Value", "Since", "What it means"];
    this.alertsRoot.replaceChildren(
      rows.length > 0 ? table("Alerts that are pending or firing", heads, rows) : quiet("Nothing is firing or pending."),
    );
    this.tell(alerts.filter(({ state }) => state === "firing").length);
  }

  // Spoken only when it changes: a live region that repeats itself is noise.
  tell(firing) {
    if (this.firing !== null && firing !== this.firing) {
      setText(this.news, firing === 0 ? "No alert is firing." : `${firing} ${firing === 1 ? "alert is" : "alerts are"} firing.`);
    }
    this.firing = firing;
  }

  showRules(rules) {
    const rows = [...rules].sort(byUrgency).map(ruleRow);
    const heads = ["State", "Rule", "Expression", "Held for", "Labels", "Last checked"];
    this.rulesRoot.replaceChildren(
      rows.length > 0 ? table("Rules and their states", heads, rows) : quiet("No rules are loaded."),
    );
  }
}

function alertRow(alert, nowMs) {
  const sinceMs = alert.active_since_ms;
  return {
    state: alert.state,
    cells: [
      stateMark(alert.state),
      strong(alert.rule),
      labelList(alert.labels),
      element("span", { class: "number", text: alertValue(alert.value) }),
      element("span", { title: clock(sinceMs), text: `${duration((nowMs - sinceMs) / 1000)} ago` }),
      text(annotation(alert.annotations)),
    ],
  };
}

function ruleRow(rule) {
  const took = Number.isFinite(rule.evaluation_seconds) ? ` in ${milliseconds(rule.evaluation_seconds * 1000)}` : "";
  const checked = rule.last_evaluation_ms ? `${clock(rule.last_evaluation_ms)}${took}` : "not yet";
  const lastCell = element("span", { text: checked });
  if (rule.error) {
    lastCell.append(element("span", { class: "fault", text: `⚠ ${rule.error}` }));
  }
  return {
    state: rule.state,
    cells: [
      stateMark(rule.state),
      strong(rule.name),
      element("code", { text: rule.expr ?? UNKNOWN }),
      text(rule.for_ms > 0 ? duration(rule.for_ms / 1000) : "at once"),
      labelList(rule.labels),
      lastCell,
    ],
  };
}

// The roles are written out because a table that is laid out as blocks loses them.
function table(caption, heads, rows) {
  const cell = (content, i) => element("td", { role: "cell", "data-head": heads[i] }, content);
  return element(
    "table",
    { role: "table" },
    element("caption", { class: "unseen", text: caption }),
    element(
      "thead",
      { role: "rowgroup" },
      element("tr", { role: "row" }, ...heads.map((head) => element("th", { role: "columnheader", scope: "col", text: head }))),
    ),
    element(
      "tbody",
      { role: "rowgroup" },
      ...rows.map(({ state, cells }) => element("tr", { role: "row", "data-alert": state ?? "" }, ...cells.map(cell))),
    ),
  );
}

function stateMark(state) {
  return element(
    "span",
    { class: "alert-state" },
    element("span", { "aria-hidden": "true", text: MARKS[state] ?? "?" }),
    element("span", { text: state ?? UNKNOWN }),
  );
}

function labelList(labels) {
  const pairs = Object.entries(labels ?? {}).filter(([name]) => name !== NAME_LABEL);
  if (pairs.length === 0) {
    return text(UNKNOWN);
  }
  return element("span", { class: "labels" }, ...pairs.map(([name, value]) => element("span", { class: "label-pair", text: `${name}=${value}` })));
}

function annotation(annotations) {
  return annotations?.summary ?? annotations?.description ?? Object.values(annotations ?? {})[0] ?? UNKNOWN;
}

// Six significant digits: enough to compare with the threshold, few enough to read.
function alertValue(value) {
  const number = Number(value);
  return Number.isFinite(number) ? String(Number(number.toPrecision(6))) : String(value ?? UNKNOWN);
}

function byUrgency(a, b) {
  const rank = ({ state }) => (URGENCY.includes(state) ? URGENCY.indexOf(state) : URGENCY.length);
  const name = (one) => `${one.rule ?? one.name}${JSON.stringify(one.labels ?? {})}`;
  return rank(a) - rank(b) || (name(a) < name(b) ? -1 : 1);
}

function quiet(words) {
  return element("p", { class: "quiet none", text: words });
}

function strong(words) {
  return element("strong", { text: words ?? UNKNOWN });
}

function text(words) {
  return element("span", { text: words });
}
