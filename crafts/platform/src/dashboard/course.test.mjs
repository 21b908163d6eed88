import assert from "node:assert/strict";
import { test } from "node:test";
import { formOf, groups, isUntouched, stepOf, stepShare, summary, times, timesWithin } from "./course.js";

const reference = { ratio: 4, interval: [3.5, 4.5] };

test("only the labs of a craft stand on its journey", () => {
  assert.equal(formOf({ phase: "2.3" }, 2), "phase3");
  assert.deepEqual(["1.3", "1.10", "0", "0.3", "2.3", "11.3"].map((phase) => formOf({ phase }, 1)), [
    "phase3",
    "phase10",
    null,
    null,
    null,
    null,
  ]);
});

test("a ratio is told with as many digits as it has to give", () => {
  assert.deepEqual([0.5, 1.9, 12.34, 99.96, 15234.5].map(times), ["0.50 ×", "1.90 ×", "12.3 ×", "100 ×", "15.2 k ×"]);
  assert.equal(timesWithin({ ratio: 1.9, interval: [1.8, 2.04] }), "1.90 × [1.80, 2.04]");
});

test("a step is a share of the reference's, on a logarithmic scale", () => {
  assert.deepEqual([1, 2, 4, 16].map((ratio) => stepShare(ratio, reference)), [0, 0.5, 1, 2]);
  assert.equal(stepShare(0.25, reference), -1, "slower than the form before");
  assert.deepEqual(stepOf({ ratio: 2, interval: [1, 4], reference }), { at: 0.5, low: 0, high: 1 });
});

test("without a reference, or with one that gains nothing, no step is invented", () => {
  assert.equal(stepOf({ ratio: 2, interval: [1, 4], reference: null }), null);
  assert.equal(stepOf({ ratio: 2, interval: [1, 4], reference: { ratio: 1 } }), null);
  assert.equal(stepOf({ ratio: 2, interval: [1, 4], reference: { ratio: 0.9 } }), null);
  assert.equal(stepOf({ ratio: 0, interval: [0, 0], reference }), null);
});

test("an interval that reaches down to nothing is drawn from the middle on", () => {
  assert.deepEqual(stepOf({ ratio: 2, interval: [0, 4], reference }), { at: 0.5, low: 0.5, high: 1 });
});

test("labs stand in groups, in the order in which they come", () => {
  const labs = ["0", "0.1", "1.1", "1.2", "2.1"].map((phase) => ({ phase }));
  assert.deepEqual(
    groups(labs).map(([title, members]) => [title, members.map(({ phase }) => phase)]),
    [
      ["Phase 0", ["0", "0.1"]],
      ["Craft 1", ["1.1", "1.2"]],
      ["Craft 2", ["2.1"]],
    ],
  );
});

test("only what was passed counts as passed, and what was begun is no longer untouched", () => {
  const labs = [{ state: "open" }, { state: "passed" }, { state: "undecided" }, { state: "not-yet" }];
  assert.equal(summary(labs), "1 of 4 labs passed");
  assert.equal(isUntouched(labs), false);
  assert.equal(isUntouched([{ state: "open" }, { state: "open" }]), true);
  assert.equal(isUntouched([{ state: "begun" }]), false);
});
