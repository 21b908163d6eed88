import assert from "node:assert/strict";
import { test } from "node:test";
import { lagOf, partitionRows, rebalanceOf } from "./groups.js";

const member = (name, ...partitions) => ({ member: name, generation: 1, partitions, silent_ms: 0 });
const partition = (number, lag) => ({ partition: number, committed: 10 - lag, end: 10, lag });
const group = (generation, members, partitions = []) => ({ group: "storage", generation, members, partitions });

test("a partition stands beside who holds it, or beside nobody", () => {
  const rows = partitionRows(group(1, [member("a", 0)], [partition(0, 0), partition(1, 3)]));
  assert.deepEqual(rows.map(({ partition, holder, lag }) => [partition, holder, lag]), [[0, "a", 0], [1, null, 3]]);
});

test("of too many partitions those furthest behind are shown, in their order", () => {
  const many = group(1, [], [partition(0, 1), partition(1, 9), partition(2, 0), partition(3, 5)]);
  assert.deepEqual(partitionRows(many, 2).map(({ partition }) => partition), [1, 3]);
  assert.equal(lagOf(many), 15);
});

test("a generation that changed is told with who came and who went", () => {
  const before = group(1, [member("a", 0, 1)]);
  assert.equal(rebalanceOf(null, before), null, "the first answer is no event");
  assert.equal(rebalanceOf(before, before), null);
  assert.equal(rebalanceOf(before, group(2, [member("a", 0), member("b", 1)])), "storage is in generation 2: b joined");
  assert.equal(rebalanceOf(before, group(2, [member("b", 0, 1)])), "storage is in generation 2: b joined, a left");
  assert.equal(rebalanceOf(before, group(2, [member("a", 0, 1)])), "storage is in generation 2: a member began anew");
});
