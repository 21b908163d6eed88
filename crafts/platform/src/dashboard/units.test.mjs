import assert from "node:assert/strict";
import { test } from "node:test";
import * as units from "./units.js";

function check(format, cases) {
  for (const [input, expected] of cases) {
    assert.equal(format(input), expected, `${format.name}(${input})`);
  }
}

test("bytes have three digits and a binary unit", () => {
  check(units.bytes, [
    [0, "0 B"],
    [512, "512 B"],
    [1023.7, "1.00 KiB"],
    [1536, "1.50 KiB"],
    [10 * 1024 ** 2, "10.0 MiB"],
    [15.6 * 1024 ** 3, "15.6 GiB"],
    [3 * 1024 ** 6, "3072 PiB"],
  ]);
});

test("what is not known is a dash in every unit", () => {
  for (const name of ["bytes", "bytesPerSecond", "percent", "count", "decimal", "milliseconds", "duration", "clock"]) {
    check(units[name], [
      [null, units.UNKNOWN],
      [undefined, units.UNKNOWN],
      [NaN, units.UNKNOWN],
      ["12", units.UNKNOWN],
    ]);
  }
});

test("small shares keep a decimal, and nothing is nothing", () => {
  check(units.percent, [
    [0, "0 %"],
    [0.004, "0.4 %"],
    [0.0994, "9.9 %"],
    [0.257, "26 %"],
    [1, "100 %"],
  ]);
});

test("whole counts stay whole until they are long", () => {
  check(units.count, [
    [7, "7"],
    [9999, "9999"],
    [12_345, "12.3 k"],
    [999_950, "1.00 M"],
    [0.5, "0.50"],
  ]);
});

test("a length of time is told in its two largest parts", () => {
  check(units.duration, [
    [-3, "0 s"],
    [59, "59 s"],
    [60, "1 m"],
    [3723, "1 h 2 m"],
    [93_784, "1 d 2 h"],
    [86_405, "1 d"],
  ]);
});

test("an axis drops the zeroes that a live figure keeps", () => {
  check(units.tick, [
    ["4.00 GiB", "4 GiB"],
    ["1.50 KiB/s", "1.5 KiB/s"],
    ["0.05", "0.05"],
    ["100 %", "100 %"],
    ["0 B", "0 B"],
    ["10.0 MiB", "10 MiB"],
  ]);
});
