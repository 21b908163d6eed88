import assert from "node:assert/strict";
import { test } from "node:test";
import { buildPanels, PANELS } from "./panels.js";
import { SampleStore } from "./series.js";

// A host whose samples are given by functions of the second, over the seconds 0..60.
function storeOf(series) {
  const store = new SampleStore();
  const matrix = series.map(([name, labels, valueAt]) => ({
    metric: { __name__: name, host: "a", ...labels },
    values: Array.from({ length: 61 }, (_, second) => [second, String(valueAt(second))]),
  }));
  store.merge(matrix, { start: 0, end: 60 });
  return store;
}

function panel(store, id, host = "a") {
  return buildPanels(store, host, 30, 60).panels.find((one) => one.id === id);
}

test("without samples every panel is there and empty", () => {
  const { panels, beat } = buildPanels(new SampleStore(), "a", 0, 60);
  assert.deepEqual(panels.map(({ id }) => id), PANELS.map(({ id }) => id));
  assert.ok(panels.every(({ lines, headline }) => lines.length === 0 && headline === "—"));
  assert.equal(beat, null);
});

test("every line has a value for every second of the window", () => {
  const store = storeOf([["host_load1", {}, (t) => t / 10]]);
  const [line] = panel(store, "load").lines;
  assert.equal(line.values.length, 31);
  assert.equal(line.values[0], 3);
  assert.equal(panel(store, "load").headline, "6.00");
});

test("a few cores are listed one by one, many under their mean and maximum", () => {
  const cores = (n) => storeOf(Array.from({ length: n }, (_, i) => ["host_cpu_busy_ratio", { core: String(i) }, () => i / n]));
  const listed = (n) => panel(cores(n), "cpu").lines.filter((line) => line.listed).map(({ label }) => label);
  assert.deepEqual(listed(2), ["core 0", "core 1", "all cores"]);
  assert.deepEqual(listed(1), ["core 0"]);
  assert.deepEqual(listed(16), ["busiest core", "all cores"]);
  assert.equal(panel(cores(16), "cpu").lines.length, 18);
});

test("traffic is a rate, the busiest devices are drawn and the idle ones counted", () => {
  const devices = ["lo", "eth0", "eth1", "eth2", "wifi"].flatMap((device, i) => [
    ["host_network_receive_bytes_total", { device }, (t) => 1000 + t * 100 * i],
    ["host_network_transmit_bytes_total", { device }, (t) => 1000 + t * 10 * i],
  ]);
  const { lines, headline, note } = panel(storeOf(devices), "network");
  assert.deepEqual([...new Set(lines.map(({ label }) => label.split(" ")[0]))], ["eth0", "eth1", "eth2", "wifi"]);
  assert.deepEqual(lines.slice(0, 2).map(({ dash, color }) => [dash, color]), [[false, 0], [true, 0]]);
  assert.equal(lines[0].values.at(-1), 100);
  assert.equal(headline, "1000 B/s");
  assert.match(note, /100 B\/s sent · 1 quiet/);
});

test("disk space is the share in use, and the fullest filesystem is the headline", () => {
  const mount = (name, size, available) => [
    ["host_filesystem_size_bytes", { mount: name, device: "d" }, () => size],
    ["host_filesystem_available_bytes", { mount: name, device: "d" }, () => available],
  ];
  const { lines, headline, note } = panel(storeOf([...mount("/", 100, 75), ...mount("/data", 2048, 1024)]), "space");
  assert.deepEqual(lines.map(({ label, values }) => [label, values.at(-1)]), [["/", 0.25], ["/data", 0.5]]);
  assert.equal(headline, "50 %");
  assert.equal(note, "/data · 1.00 KiB free");
});

test("lines end where the samples ended, and a rate does not fall to zero there", () => {
  const store = storeOf([
    ["host_uptime_seconds", {}, (t) => Math.min(t, 40)],
    ["host_processes", {}, () => 7],
    ["host_disk_read_bytes_total", { device: "d" }, (t) => Math.min(t, 40) * 100],
  ]);
  assert.deepEqual(panel(store, "processes").lines[0].values.map((value) => value !== null).lastIndexOf(true), 10);
  assert.equal(panel(store, "disk").headline, "100 B/s");
  assert.equal(buildPanels(store, "a", 30, 60).beat.lastSecond, 40);
});

test("the other machines stay out of the picture", () => {
  const store = storeOf([["host_load1", {}, () => 1]]);
  assert.equal(panel(store, "load", "b").lines.length, 0);
});
