import assert from "node:assert/strict";
import { test } from "node:test";
import { journeyRows, loadsByCraft, onTrack } from "./journey.js";

const load = {
  name: "plain",
  unit: "requests/s",
  phases: [
    { name: "phase0", title: "one at a time", figure: 500, p99_us: 2500, success_ratio: 1 },
    { name: "phase1", title: "a thread each", figure: 1000, p99_us: 900, success_ratio: 0.5 },
    { name: "phase2", title: "gave up", figure: null, p99_us: null, success_ratio: null },
  ],
};

test("the fastest fills its track, the others have their share", () => {
  assert.deepEqual(journeyRows(1, load, "").map(({ share }) => share), [0.5, 1, 0]);
});

test("the phase that serves is marked, and only that one", () => {
  assert.deepEqual(journeyRows(1, load, "phase1").map(({ serves }) => serves), [false, true, false]);
});

test("the loads of all crafts can be chosen, and where less is better it says so", () => {
  const single = { name: "kill-9", title: "a `kill -9`", less_is_better: true };
  const journeys = [
    { craft: 1, slot: "ingest", loads: [{ name: "plain", title: "any load" }] },
    { craft: 2, slot: "queue", loads: [single] },
  ];
  assert.deepEqual(loadsByCraft(journeys), [
    { label: "Craft 1 · ingest", options: [{ value: "1/plain", text: "any load" }] },
    { label: "Craft 2 · queue", options: [{ value: "2/kill-9", text: "a kill -9 (less is better)" }] },
  ]);
});

test("where less is better a ratio is a step, and no bar is made of it", () => {
  const [, row] = journeyRows(1, { ...load, less_is_better: true }, "", [lab]);
  assert.equal(row.mine.onBar, null);
  assert.ok(row.mine.step);
});

test("what was not answered is said, and what was not measured is not invented", () => {
  const rows = journeyRows(1, load, "");
  assert.deepEqual(rows.map(({ failed }) => failed), [false, true, false]);
  assert.deepEqual([rows[0].figure, rows[0].p99], ["500 requests/s", "2.50 ms"]);
  assert.deepEqual([rows[2].figure, rows[2].p99], ["—", null]);
});

const reference = { ratio: 4, interval: [3, 5] };
const measured = { ratio: 3, interval: [2, 4], reference, load: "plain" };
const lab = { phase: "1.1", measured };

test("under the lab's own load the learner stands at so many times the bar before, and the chart makes room", () => {
  const rows = journeyRows(1, load, "", [lab]);
  // 3 × 500/s is the longest now; its interval ends where the chart does.
  assert.deepEqual(rows.map(({ share }) => share), [500 / 1500, 1000 / 1500, 0]);
  assert.deepEqual(rows[1].mine.onBar, { at: 1, low: 1000 / 1500, high: 1 });
  assert.equal(rows[1].mine.step, null);
  assert.equal(rows[1].mine.words, "yours 3.00 × [2.00, 4.00] · under plain · reference 4.00 ×");
  assert.deepEqual([rows[0].mine, rows[2].mine], [null, null]);
});

test("under another load it is a step of the reference's, and no bar moves", () => {
  const [, row] = journeyRows(1, load, "", [{ ...lab, measured: { ...measured, ratio: 2, load: "fifty" } }]);
  assert.equal(row.mine.onBar, null);
  assert.deepEqual(row.mine.step, { at: 0.5, low: 0.5, high: 1 });
  assert.equal(row.share, 1);
});

test("where the form before was not measured, or answered nobody, no rate is made of a ratio", () => {
  const second = { phase: "1.2", measured };
  const without = { name: "plain", phases: [load.phases[0], load.phases[2]] };
  assert.equal(journeyRows(1, without, "", [second])[1].mine.onBar, null);
  const silent = { name: "plain", phases: [{ name: "phase0", figure: 0 }, load.phases[1]] };
  const [, row] = journeyRows(1, silent, "", [lab]);
  assert.equal(row.mine.onBar, null);
  assert.equal(row.mine.step.high, 1);
});

test("a line of before, without load and reference, is told in words alone", () => {
  const old = { phase: "1.1", measured: { ratio: 3, interval: [2, 4], reference: null, load: null } };
  const [, row] = journeyRows(1, load, "", [old]);
  assert.deepEqual(row.mine, { words: "yours 3.00 × [2.00, 4.00]", onBar: null, step: null });
});

test("a lab that was not measured, or is no phase of this craft, changes nothing", () => {
  const others = [{ phase: "1.1", measured: null }, { phase: "2.1", measured }, { phase: "0", measured }];
  assert.deepEqual(journeyRows(1, load, "", others), journeyRows(1, load, ""));
});

test("a step's track has room on both sides, and an end", () => {
  assert.ok(onTrack(0) > 0.05 && onTrack(1) < 0.95);
  assert.ok(Math.abs(onTrack(0.5) - 0.5) < 1e-9);
  assert.deepEqual([onTrack(-9), onTrack(9)], [0, 1]);
});
