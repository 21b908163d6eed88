import assert from "node:assert/strict";
import { test } from "node:test";
import { journeyRows, onTrack } from "./journey.js";

const load = {
  name: "plain",
  phases: [
    { name: "phase0", title: "one at a time", requests_per_s: 500, p99_us: 2500, success_ratio: 1 },
    { name: "phase1", title: "a thread each", requests_per_s: 1000, p99_us: 900, success_ratio: 0.5 },
    { name: "phase2", title: "gave up", requests_per_s: null, p99_us: null, success_ratio: null },
  ],
};

test("the fastest fills its track, the others have their share", () => {
  assert.deepEqual(journeyRows(load, "").map(({ share }) => share), [0.5, 1, 0]);
});

test("the phase that serves is marked, and only that one", () => {
  assert.deepEqual(journeyRows(load, "phase1").map(({ serves }) => serves), [false, true, false]);
});

test("what was not answered is said, and what was not measured is not invented", () => {
  const rows = journeyRows(load, "");
  assert.deepEqual(rows.map(({ failed }) => failed), [false, true, false]);
  assert.deepEqual([rows[0].rate, rows[0].p99], ["500/s", "2.50 ms"]);
  assert.deepEqual([rows[2].rate, rows[2].p99], ["—", "—"]);
});

const reference = { ratio: 4, interval: [3, 5] };
const measured = { ratio: 3, interval: [2, 4], reference, load: "plain" };
const lab = { phase: "1.1", measured };

test("under the lab's own load the learner stands at so many times the bar before, and the chart makes room", () => {
  const rows = journeyRows(load, "", [lab]);
  // 3 × 500/s is the longest now; its interval ends where the chart does.
  assert.deepEqual(rows.map(({ share }) => share), [500 / 1500, 1000 / 1500, 0]);
  assert.deepEqual(rows[1].mine.onBar, { at: 1, low: 1000 / 1500, high: 1 });
  assert.equal(rows[1].mine.step, null);
  assert.equal(rows[1].mine.words, "yours 3.00 × [2.00, 4.00] · under plain · reference 4.00 ×");
  assert.deepEqual([rows[0].mine, rows[2].mine], [null, null]);
});

test("under another load it is a step of the reference's, and no bar moves", () => {
  const [, row] = journeyRows(load, "", [{ ...lab, measured: { ...measured, ratio: 2, load: "fifty" } }]);
  assert.equal(row.mine.onBar, null);
  assert.deepEqual(row.mine.step, { at: 0.5, low: 0.5, high: 1 });
  assert.equal(row.share, 1);
});

test("where the form before was not measured, or answered nobody, no rate is made of a ratio", () => {
  const second = { phase: "1.2", measured };
  const without = { name: "plain", phases: [load.phases[0], load.phases[2]] };
  assert.equal(journeyRows(without, "", [second])[1].mine.onBar, null);
  const silent = { name: "plain", phases: [{ name: "phase0", requests_per_s: 0 }, load.phases[1]] };
  const [, row] = journeyRows(silent, "", [lab]);
  assert.equal(row.mine.onBar, null);
  assert.equal(row.mine.step.high, 1);
});

test("a line of before, without load and reference, is told in words alone", () => {
  const old = { phase: "1.1", measured: { ratio: 3, interval: [2, 4], reference: null, load: null } };
  const [, row] = journeyRows(load, "", [old]);
  assert.deepEqual(row.mine, { words: "yours 3.00 × [2.00, 4.00]", onBar: null, step: null });
});

test("a lab that was not measured, or is no phase of this craft, changes nothing", () => {
  const others = [{ phase: "1.1", measured: null }, { phase: "2.1", measured }, { phase: "0", measured }];
  assert.deepEqual(journeyRows(load, "", others), journeyRows(load, ""));
});

test("a step's track has room on both sides, and an end", () => {
  assert.ok(onTrack(0) > 0.05 && onTrack(1) < 0.95);
  assert.ok(Math.abs(onTrack(0.5) - 0.5) < 1e-9);
  assert.deepEqual([onTrack(-9), onTrack(9)], [0, 1]);
});
