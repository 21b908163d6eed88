// The page's only loop: ask the server, remember, draw, rest. One question at a time, always: the
// naive server of phase 0 answers one connection after the other, and a page that asks in parallel
// would stand in its own way.
//
// For tests, <html> carries: data-state (loading, live, away), data-fresh (none, fresh, stale),
// data-points, data-slots, data-groups, data-rules, data-alerts, data-journeys, data-labs.

import { AlertTables } from "./alerts.js";
import { Charts } from "./charts.js";
import { Course } from "./course.js";
import { element, setText } from "./dom.js";
import { Groups } from "./groups.js";
import { Journey } from "./journey.js";
import { backoffMs, restMs } from "./pace.js";
import { buildPanels } from "./panels.js";
import { Pipeline } from "./pipeline.js";
import { SampleStore } from "./series.js";
import { clock, duration, UNKNOWN } from "./units.js";

const ANSWER_MS_MAX = 20_000;

// One cycle asks for the status, the new samples, and one thing more, in this order.
const SIDE_QUESTIONS = ["rules", "past", "alerts", "past", "progress", "past", "hosts"];
const MATCH_ALL = '{__name__=~"host_.+"}';
const MATCH_HOSTS = "host_uptime_seconds";

const WINDOWS_S = [60, 300, 900];
const STORED_WINDOW = "systems-craft.window";
const STORED_HOST = "systems-craft.host";

/** No answer came: the connection failed, broke, or took too long. */
class Unreachable extends Error {}

/** An answer came, but not the one that was asked for. */
class Refused extends Error {}

const root = document.documentElement;
const byId = (id) => document.getElementById(id);

const store = new SampleStore();
const pipeline = new Pipeline(byId("pipeline"));
const groups = new Groups({ section: byId("groups"), list: byId("groups-list"), events: byId("groups-events") });
const charts = new Charts(byId("chart-grid"));
const journey = new Journey({
  section: byId("journey"),
  chart: byId("journey-rows"),
  choice: byId("journey-load"),
  source: byId("journey-source"),
  legend: byId("journey-legend"),
});
const course = new Course({
  section: byId("course"),
  begin: byId("course-begin"),
  told: byId("course-told"),
  sum: byId("course-sum"),
  next: byId("course-next"),
  map: byId("course-map"),
});
const tables = new AlertTables({ alerts: byId("alerts"), rules: byId("rules"), news: byId("alerts-news") });

const page = {
  windowS: WINDOWS_S.includes(Number(recall(STORED_WINDOW))) ? Number(recall(STORED_WINDOW)) : 300,
  host: null,
  hosts: [],
  wantedHost: recall(STORED_HOST),
  status: null,
  turn: 0,
  failures: 0,
  // What a question was refused with while the server itself was there.
  refusals: new Map(),
  wake: () => {},
  countdown: 0,
  beat: null,
};

wireControls();
run();

async function run() {
  for (;;) {
    const began = performance.now();
    let pauseMs;
    try {
      await cycle();
      page.failures = 0;
      showLive();
      pauseMs = restMs(performance.now() - began, document.hidden);
    } catch (error) {
      page.failures += 1;
      pauseMs = backoffMs(page.failures, Math.random());
      showAway(error, pauseMs);
    }
    await pause(pauseMs);
  }
}

// ---- asking ---------------------------------------------------------------------------------

async function cycle() {
  const status = await ask("/api/status");
  if (!Number.isFinite(status.now_ms)) {
    throw new Refused("the status carries no time");
  }
  page.status = status;
  pipeline.show(status);
  groups.show(status.stages?.queue?.groups, status.now_ms);
  root.dataset.groups = groups.names().join(",");
  journey.mark(new Map((status.slots ?? []).map(({ slot, name }) => [slot, name])));
  root.dataset.slots = (status.slots ?? []).map(({ slot, name }) => `${slot}=${name}`).join(",");

  const now = Math.floor(status.now_ms / 1000);
  await askSamples(store.nextSpan(now, page.windowS));
  draw();

  // The first cycle fills the page; after that one side question a cycle is enough.
  const first = page.turn === 0;
  const due = first ? ["rules", "alerts", "journey", "progress"] : [SIDE_QUESTIONS[page.turn % SIDE_QUESTIONS.length]];
  for (const question of due) {
    await askAside(question, now);
  }
  page.turn += 1;
}

async function askAside(question, now) {
  if (question === "rules") {
    await tolerating("rules", askRules);
  } else if (question === "alerts") {
    await tolerating("alerts", askAlerts);
  } else if (question === "journey") {
    await tolerating("the journey", askJourney);
  } else if (question === "progress") {
    await tolerating("the course", askProgress);
  } else if (question === "past") {
    const span = store.missingSpan(now, page.windowS);
    if (span) {
      await askSamples(span);
      draw();
    }
  } else if (page.hosts.length > 1) {
    await tolerating("hosts", () => askHosts(now));
  }
}

async function askRules() {
  const { rules } = await ask("/rules");
  tables.showRules(rules);
  root.dataset.rules = String(rules.length);
}

async function askAlerts() {
  const { alerts } = await ask("/alerts");
  tables.showAlerts(alerts, page.status.now_ms);
  const firing = alerts.filter(({ state }) => state === "firing").length;
  root.dataset.alerts = String(alerts.length);
  document.title = firing > 0 ? `(${firing}) Systems Craft` : "Systems Craft";
}

// Not every server has results to show: then it says so with an empty list.
async function askJourney() {
  journey.learn(await ask("/api/journey"));
  root.dataset.journeys = journey.told();
}

// A check may end while the page is open. Not every server knows of a course: then it says so with null.
async function askProgress() {
  if (course.learn(await ask("/api/progress"))) {
    journey.compare(course.labs);
    root.dataset.labs = course.labs.map(({ slug, state }) => `${slug}=${state}`).join(",");
  }
}

// With one machine its name need not be in the question; with several, only one is asked for.
async function askSamples(span) {
  const query = page.hosts.length > 1 ? `{__name__=~"host_.+",host=${JSON.stringify(page.host)}}` : MATCH_ALL;
  const asked = page.host;
  await tolerating("samples", async () => {
    const matrix = await askRange(query, span);
    // Another machine may have been chosen meanwhile: then this answer is nobody's.
    if (asked === page.host) {
      store.merge(matrix, span);
    }
  });
  learnHosts(store.hosts());
}

async function askHosts(now) {
  const found = await askRange(MATCH_HOSTS, { start: now, end: now });
  learnHosts(found.map(({ metric }) => metric?.host ?? ""));
}

async function askRange(query, { start, end }) {
  const answer = await ask(
    `/api/v1/query_range?query=${encodeURIComponent(query)}&start=${start}&end=${end}&step=1`,
  );
  if (answer.status !== "success" || !Array.isArray(answer.data?.result)) {
    throw new Refused(String(answer.error ?? "the answer is not a matrix"));
  }
  return answer.data.result;
}

async function ask(path) {
  const { response, text } = await answerTo(path);
  if (!response.ok) {
    throw new Refused(`${response.status} ${response.statusText || firstLine(text)}`.trim());
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Refused("the answer is not JSON");
  }
}

async function answerTo(path) {
  try {
    const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    return { response, text: await response.text() };
  } catch (error) {
    throw new Unreachable(error.message, { cause: error });
  }
}

// A server that is gone is the whole page's matter. Anything else that goes wrong with one question
// is said in the banner, and the others go on.
async function tolerating(what, question) {
  try {
    await question();
    page.refusals.delete(what);
  } catch (error) {
    if (error instanceof Unreachable) {
      throw error;
    }
    page.refusals.set(what, error.message);
  }
}

function firstLine(text) {
  return text.split("\n", 1)[0].slice(0, 120);
}

function pause(ms) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    page.wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

// ---- showing --------------------------------------------------------------------------------

function draw() {
  if (!page.status) {
    return;
  }
  const to = Math.floor(page.status.now_ms / 1000);
  const from = to - page.windowS;
  const { panels, beat } = buildPanels(store, page.host ?? "", from, to);
  const points = charts.show(panels, from, to, emptyText());
  root.dataset.points = String(points);
  page.beat = beat;
}

function emptyText() {
  if (store.series.size > 0) {
    return "no samples in this window";
  }
  return page.status.agent === false
    ? "no agent runs here: samples appear once somebody sends them"
    : "waiting for the first samples";
}

function showLive() {
  const { now_ms: nowMs } = page.status;
  const beat = page.beat;
  const ageS = beat && beat.lastSecond !== null ? Math.max(0, nowMs / 1000 - beat.lastSecond) : null;
  const any = store.series.size > 0;
  const stale = any && ageS !== null && ageS > beat.silentS;
  root.dataset.state = "live";
  root.dataset.fresh = !any ? "none" : stale ? "stale" : "fresh";
  setText(byId("state-text"), !any ? "waiting" : stale ? "stale" : "live");
  setText(byId("sample-age"), ageS === null ? "" : `last sample ${sampleAge(ageS, beat)} ago`);
  setText(byId("server"), serverLine(page.status));
  showRefusals();
}

// Before the first arrival that is held there may have been nothing for longer still.
function sampleAge(ageS, beat) {
  return `${beat.lastArrival === 0 && ageS > beat.silentS ? "more than " : ""}${duration(Math.round(ageS))}`;
}

function serverLine(status) {
  const upS = (status.now_ms - status.started_ms) / 1000;
  return [
    `version ${status.version ?? UNKNOWN}`,
    status.shape ?? UNKNOWN,
    `up ${duration(upS)}`,
    `data in ${status.data_dir ?? UNKNOWN}`,
    status.agent ? "agent on" : "agent off",
  ].join(" · ");
}

function showRefusals() {
  clearTimeout(page.countdown);
  const all = [...page.refusals].map(([what, why]) => `${what} (${why})`);
  setText(byId("banner-text"), all.length === 0 ? "" : `The server did not answer about: ${all.join(", ")}.`);
  setText(byId("banner-countdown"), "");
  byId("retry").hidden = true;
  byId("banner").hidden = all.length === 0;
}

function showAway(error, pauseMs) {
  const known = page.status ? ` What is shown is from ${clock(page.status.now_ms)}.` : "";
  root.dataset.state = "away";
  setText(byId("state-text"), "away");
  setText(byId("sample-age"), "");
  setText(byId("banner-text"), `${reasonOf(error)}${known}`);
  byId("retry").hidden = false;
  byId("banner").hidden = false;
  countDown(performance.now() + pauseMs);
}

function reasonOf(error) {
  if (error instanceof Unreachable) {
    return "The server does not answer.";
  }
  if (error instanceof Refused) {
    return `The server answers with an error: ${error.message}.`;
  }
  console.error(error);
  return `This page failed to show the answer: ${error.message}.`;
}

// The seconds are outside the live region: nobody wants a countdown read aloud.
function countDown(untilMs) {
  clearTimeout(page.countdown);
  const left = Math.ceil((untilMs - performance.now()) / 1000);
  setText(byId("banner-countdown"), left > 0 ? `Trying again in ${left} s.` : "Trying now …");
  if (left > 0) {
    page.countdown = setTimeout(countDown, 250, untilMs);
  }
}

function learnHosts(found) {
  const hosts = [...new Set([...page.hosts, ...found])].sort();
  if (page.host === null && hosts.length > 0) {
    page.host = hosts.includes(page.wantedHost) ? page.wantedHost : (hosts.find(Boolean) ?? hosts[0]);
  }
  const changed = hosts.length !== page.hosts.length;
  page.hosts = hosts;
  if (changed) {
    showHosts();
  }
}

function showHosts() {
  const several = page.hosts.length > 1;
  const choice = byId("host-choice");
  setText(byId("host"), page.host === "" ? "unnamed" : (page.host ?? UNKNOWN));
  byId("host").hidden = several;
  choice.hidden = !several;
  choice.replaceChildren(...page.hosts.map((host) => element("option", { value: host, text: host || "unnamed" })));
  choice.value = page.host ?? "";
}

// ---- controls -------------------------------------------------------------------------------

function wireControls() {
  byId("window").addEventListener("change", ({ target }) => {
    page.windowS = Number(target.value);
    remember(STORED_WINDOW, target.value);
    draw();
  });
  for (const input of byId("window").querySelectorAll("input")) {
    input.checked = Number(input.value) === page.windowS;
  }
  byId("host-choice").addEventListener("change", ({ target }) => {
    page.host = target.value;
    remember(STORED_HOST, target.value);
    store.forget();
    showHosts();
    page.wake();
  });
  byId("retry").addEventListener("click", () => page.wake());
  window.addEventListener("online", () => page.wake());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      page.wake();
    }
  });
}

// Storage may be forbidden; then nothing is remembered and nothing breaks.
function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // See recall.
  }
}
