import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CHUNK_S_MAX,
  column,
  CounterHistory,
  heartbeat,
  KEPT_S_MAX,
  MARGIN_S,
  OVERLAP_S,
  rates,
  SampleStore,
} from "./series.js";

const load = (values, host = "a") => ({ metric: { __name__: "host_load1", host }, values });
const pointsOf = (store) => store.select("host_load1", "a")[0]?.points;

test("a counter that falls has begun again from zero", () => {
  assert.deepEqual(rates([10, 20, 5, 15], 1), [null, 10, 5, 10]);
});

test("a rate is averaged over its window", () => {
  assert.deepEqual(rates([0, 0, 40, 40, 40], 4), [null, 0, 20, 40 / 3, 10]);
});

test("a rate knows nothing across a gap", () => {
  assert.deepEqual(rates([1, 2, null, 900, 901], 2), [null, 1, null, null, 1]);
});

test("later answers replace the seconds they were asked for, and no others", () => {
  const store = new SampleStore();
  store.merge([load([[100, "1"], [101, "1"], [102, "1"]])], { start: 100, end: 102 });
  store.merge([load([[102, "2"], [103, "3"]])], { start: 101, end: 103 });
  assert.deepEqual(pointsOf(store), [[100, 1], [102, 2], [103, 3]]);
});

test("an older span is put before what is known", () => {
  const store = new SampleStore();
  store.merge([load([[200, "2"]])], { start: 150, end: 200 });
  store.merge([load([[120, "1"]])], { start: 100, end: 149 });
  assert.deepEqual(pointsOf(store), [[120, 1], [200, 2]]);
  assert.deepEqual([store.coveredFrom, store.coveredTo], [100, 200]);
});

test("values that are no finite numbers are left out", () => {
  const store = new SampleStore();
  store.merge([load([[1, "NaN"], [2, "+Inf"], [3, "4e2"], ["x", "1"]])], { start: 0, end: 9 });
  assert.deepEqual(pointsOf(store), [[3, 400]]);
});

test("only the new seconds are asked for, with a small overlap", () => {
  const store = new SampleStore();
  assert.deepEqual(store.nextSpan(1000, 60), { start: 1000 - 60 - MARGIN_S, end: 1000 });
  store.merge([], { start: 920, end: 1000 });
  assert.deepEqual(store.nextSpan(1001, 60), { start: 1000 - OVERLAP_S, end: 1001 });
});

test("no question is longer than a chunk, and the past is filled from its new end", () => {
  const store = new SampleStore();
  const now = 10_000;
  const first = store.nextSpan(now, 900);
  assert.equal(first.end - first.start, CHUNK_S_MAX);
  store.merge([], first);
  let asked = 0;
  for (let span = store.missingSpan(now, 900); span; span = store.missingSpan(now, 900)) {
    assert.equal(span.end, store.coveredFrom - 1);
    assert.ok(span.end - span.start <= CHUNK_S_MAX);
    store.merge([], span);
    asked += 1;
    assert.ok(asked < 10, "the past is filled in a few questions");
  }
  assert.equal(store.coveredFrom, now - 900 - MARGIN_S);
});

test("after a long absence, or when the clock went back, the store begins anew", () => {
  for (const now of [1000 + CHUNK_S_MAX, 900]) {
    const store = new SampleStore();
    store.merge([load([[1000, "1"]])], { start: 990, end: 1000 });
    const span = store.nextSpan(now, 60);
    assert.equal(store.series.size, 0);
    assert.deepEqual(span, { start: now - 60 - MARGIN_S, end: now });
  }
});

test("what is older than the longest window is forgotten", () => {
  const store = new SampleStore();
  store.merge([load([[0, "1"], [5000, "2"]])], { start: 0, end: 5000 });
  assert.deepEqual(pointsOf(store), [[5000, 2]]);
  store.merge([], { start: 5001, end: 5002 + KEPT_S_MAX + MARGIN_S });
  assert.equal(store.series.size, 0);
});

test("core 10 comes after core 2", () => {
  const store = new SampleStore();
  const cores = ["10", "2", "0"].map((core) => ({ metric: { __name__: "c", core }, values: [[1, "1"]] }));
  store.merge(cores, { start: 0, end: 1 });
  assert.deepEqual(
    store.select("c", "").map(({ labels }) => labels.core),
    ["0", "2", "10"],
  );
});

test("a column has an entry for every second", () => {
  assert.deepEqual(column([[9, 1], [11, 2], [14, 3]], 10, 13), [null, 2, null, null]);
});

test("a flat uptime is silence: the echo of the last sample is not believed", () => {
  const uptime = [1, 2, 3, ...new Array(20).fill(3), 30, 31];
  const { alive, intervalS, lastArrival } = heartbeat(uptime);
  assert.equal(intervalS, 1);
  assert.deepEqual(alive, [true, true, true, ...new Array(20).fill(false), true, true]);
  assert.equal(lastArrival, 24);
});

test("a short delay is no silence, nor is an agent that reports every fifteen seconds", () => {
  assert.ok(heartbeat([1, 2, 2, 2, 2, 6, 7]).alive.every(Boolean));
  const slow = Array.from({ length: 75 }, (_, i) => Math.floor(i / 15) * 15);
  const { alive, intervalS } = heartbeat(slow);
  assert.equal(intervalS, 15);
  assert.ok(alive.every(Boolean));
});

test("no uptime, no arrivals", () => {
  assert.equal(heartbeat([null, null]).lastArrival, null);
  assert.equal(heartbeat([]).lastArrival, null);
});

test("a stage's rate is its rise over the window, through a restart", () => {
  const history = new CounterHistory(60_000);
  assert.equal(history.rate("n", 5000), null);
  [100, 200, 300, 50].forEach((n, i) => history.push(i * 1000, { n }));
  assert.equal(history.rate("n", 1000), 50);
  assert.equal(history.rate("n", 5000), 250 / 3);
});

test("readings that come slower than the window still give a rate", () => {
  const history = new CounterHistory(60_000);
  history.push(0, { n: 0 });
  history.push(20_000, { n: 100 });
  assert.equal(history.rate("n", 5000), 5);
});

test("two readings of one moment, or a counter that is missing, give no rate", () => {
  const history = new CounterHistory(60_000);
  history.push(1000, { n: 0 });
  history.push(1000, { n: 9 });
  assert.equal(history.rate("n", 5000), null);
  history.push(2000, {});
  assert.equal(history.rate("n", 5000), null);
  assert.deepEqual(history.rateLine("n", 5000), []);
});
