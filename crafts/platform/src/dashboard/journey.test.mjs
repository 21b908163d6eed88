import assert from "node:assert/strict";
import { test } from "node:test";
import { journeyRows } from "./journey.js";

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
