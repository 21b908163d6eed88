import assert from "node:assert/strict";
import { test } from "node:test";
import { backoffMs, BACKOFF_MS_MAX, CYCLE_HIDDEN_MS_MIN, CYCLE_MS_MIN, restMs, REST_RATIO } from "./pace.js";

test("a quick server is asked once a second, a hidden page asks rarely", () => {
  assert.equal(restMs(40, false) + 40, CYCLE_MS_MIN);
  assert.equal(restMs(40, true) + 40, CYCLE_HIDDEN_MS_MIN);
});

test("a slow server is left alone for three times as long as it took", () => {
  for (const tookMs of [250, 400, 5000, 20_000]) {
    assert.ok(restMs(tookMs, false) >= REST_RATIO * tookMs);
    assert.ok(restMs(tookMs, true) >= REST_RATIO * tookMs);
  }
});

test("waiting doubles with every failure up to its bound", () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 500].map((failures) => backoffMs(failures, 0)),
    [1000, 2000, 4000, 8000, BACKOFF_MS_MAX, BACKOFF_MS_MAX],
  );
  assert.equal(backoffMs(3, 1), 3200);
});
