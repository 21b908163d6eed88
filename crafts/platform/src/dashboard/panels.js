// What each chart shows, from the samples the page holds. No DOM here: charts.js draws it.
//
// A panel is { id, headline, note, scale, lines, empty }. A line is { key, label, values, color,
// dash, width, fill, listed }: `color` is an index into the palette of style.css, `listed` says
// whether it has its own entry in the legend.

import { bytes, bytesPerSecond, count, decimal, duration, percent } from "./units.js";
import {
  column,
  heartbeat,
  lastKnown,
  maxColumn,
  meanColumn,
  overColumns,
  rates,
  ratioColumn,
  whereAlive,
} from "./series.js";

// More lines than this cannot be told apart: cores beyond it are drawn faintly under their mean,
// devices beyond it are left out, the busiest first.
const CORES_LISTED_MAX = 8;
const DEVICES_MAX = 4;
const MOUNTS_MAX = 6;

// Rates are averaged over this, or over the agent's interval where that is longer.
const RATE_WINDOW_S = 5;

const PLAIN = { dash: false, width: 1.5, fill: false, listed: true };

/** The order and the fixed text of the charts: they stand on the page before the first sample. */
export const PANELS = [
  { id: "cpu", title: "CPU", subject: "share of time each core is busy", wide: true, build: cpu },
  { id: "load", title: "Load", subject: "runnable tasks, averaged", build: load },
  { id: "memory", title: "Memory", subject: "used of what is installed", build: memory },
  { id: "disk", title: "Disk I/O", subject: "bytes a second", build: disk },
  { id: "space", title: "Disk space", subject: "share of each filesystem in use", build: space },
  { id: "network", title: "Network", subject: "bytes a second", wide: true, build: network },
  { id: "processes", title: "Processes", subject: "on the process table", build: processes },
];

/** All panels for one host and window, and what its heartbeat says. */
export function buildPanels(store, host, from, to) {
  const beat = hostHeartbeat(store, host, to);
  const known = (one) => aliveColumn(one, beat, from, to);
  const view = {
    select: (name) => store.select(name, host).map((one) => ({ labels: one.labels, values: known(one) })),
    rateWindowS: Math.max(RATE_WINDOW_S, beat?.intervalS ?? 0),
  };
  const panels = PANELS.map(({ id, build }) => ({ id, ...build(view) }));
  return { panels, beat };
}

// The heartbeat looks at everything that is kept, not only at the window: the last sample may lie
// before it. Null when this host sends no uptime, and then every value is believed.
function hostHeartbeat(store, host, to) {
  const [uptime] = store.select("host_uptime_seconds", host);
  if (!uptime) {
    return null;
  }
  const from = Math.min(uptime.points[0][0], to);
  const beat = heartbeat(column(uptime.points, from, to));
  return { ...beat, from, lastSecond: beat.lastArrival === null ? null : from + beat.lastArrival };
}

function aliveColumn(one, beat, from, to) {
  const values = column(one.points, from, to);
  if (!beat) {
    return values;
  }
  return whereAlive(values, values.map((_, i) => beat.alive[from + i - beat.from] ?? false));
}

function cpu({ select }) {
  const cores = select("host_cpu_busy_ratio");
  const columns = cores.map(({ values }) => values);
  const mean = meanColumn(columns);
  const many = cores.length > CORES_LISTED_MAX;
  const lines = cores.map(({ labels, values }, i) => ({
    ...PLAIN,
    key: `core ${labels.core ?? i}`,
    label: `core ${labels.core ?? i}`,
    values,
    color: many ? "faint" : i,
    width: many ? 1 : 1.5,
    listed: !many,
  }));
  if (many) {
    lines.push({ ...PLAIN, key: "busiest", label: "busiest core", values: maxColumn(columns), color: 1 });
  }
  if (cores.length > 1) {
    lines.push({ ...PLAIN, key: "mean", label: "all cores", values: mean, color: "ink", width: 2.5 });
  }
  return {
    headline: percent(lastKnown(mean)),
    note: cores.length === 0 ? "" : cores.length === 1 ? "1 core" : `mean of ${cores.length} cores`,
    scale: { kind: "ratio", format: percent, min: 0, max: 1 },
    lines,
  };
}

function load({ select }) {
  const lines = [
    ["host_load1", "1 minute", 0],
    ["host_load5", "5 minutes", 1],
    ["host_load15", "15 minutes", 2],
  ].flatMap(([name, label, color]) => lineOf(select(name), { label, color }));
  return {
    headline: decimal(lastKnown(lines.find(({ color }) => color === 0)?.values ?? [])),
    note: lines.length > 0 ? "over 1 minute" : "",
    scale: { kind: "number", format: decimal, min: 0, maxAtLeast: 0.5 },
    lines,
  };
}

function memory({ select }) {
  const used = select("host_memory_used_bytes");
  const total = lastKnown(select("host_memory_total_bytes")[0]?.values ?? []);
  const usedNow = lastKnown(used[0]?.values ?? []);
  const hasSwap = lastKnown(select("host_swap_total_bytes")[0]?.values ?? []) > 0;
  const lines = [
    ...lineOf(used, { label: "used", color: 0, fill: true }),
    ...lineOf(select("host_memory_available_bytes"), { label: "available", color: 2 }),
    ...(hasSwap ? lineOf(select("host_swap_used_bytes"), { label: "swap used", color: 1, dash: true }) : []),
  ];
  return {
    headline: total && usedNow !== null ? percent(usedNow / total) : bytes(usedNow),
    note: total && usedNow !== null ? `${bytes(usedNow)} of ${bytes(total)}` : "",
    scale: { kind: "bytes", format: bytes, min: 0, max: total || undefined, maxAtLeast: 1024 },
    lines,
  };
}

function disk(view) {
  return traffic(view, {
    first: { name: "host_disk_read_bytes_total", verb: "read" },
    second: { name: "host_disk_written_bytes_total", verb: "written" },
  });
}

function network(view) {
  return traffic(view, {
    first: { name: "host_network_receive_bytes_total", verb: "received" },
    second: { name: "host_network_transmit_bytes_total", verb: "sent" },
  });
}

// Two directions of each device: one colour a device, the second direction dashed. The headline
// counts all devices, also those that are not drawn.
function traffic({ select, rateWindowS }, { first, second }) {
  const directions = [first, second].map(({ name, verb }) => ({
    verb,
    devices: select(name).map(({ labels, values }) => ({
      device: labels.device ?? "",
      values: rates(values, rateWindowS),
    })),
  }));
  const { drawn, left } = byTraffic(directions.flatMap(({ devices }) => devices));
  const lines = drawn.flatMap((device, color) =>
    directions.flatMap(({ verb, devices }, dash) =>
      devices
        .filter((one) => one.device === device)
        .map(({ values }) => ({
          ...PLAIN,
          key: `${device} ${verb}`,
          label: `${device} ${verb}`,
          values,
          color,
          dash: dash === 1,
        })),
    ),
  );
  const totals = directions.map(({ devices }) => lastKnown(sumColumn(devices.map(({ values }) => values))));
  return {
    headline: lines.length === 0 ? bytes(null) : bytesPerSecond(totals[0]),
    note:
      lines.length === 0
        ? ""
        : `${first.verb}, ${bytesPerSecond(totals[1])} ${second.verb}${left > 0 ? ` · ${left} quiet` : ""}`,
    scale: { kind: "bytes", format: bytesPerSecond, min: 0, maxAtLeast: 1024 },
    lines,
  };
}

// The names of the devices worth a line, and how many are left: the busiest, without those that did
// nothing at all (unless none did). They are put by name, so that they keep their places and colours
// while they overtake each other.
function byTraffic(devices) {
  const sums = new Map();
  for (const { device, values } of devices) {
    const sum = values.reduce((total, value) => total + (value ?? 0), 0);
    sums.set(device, (sums.get(device) ?? 0) + sum);
  }
  const ranked = [...sums].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const busy = ranked.filter(([, sum]) => sum > 0);
  const drawn = (busy.length > 0 ? busy : ranked).slice(0, DEVICES_MAX).map(([device]) => device);
  return { drawn: drawn.sort(), left: ranked.length - drawn.length };
}

function sumColumn(columns) {
  return overColumns(columns, (known) => known.reduce((sum, value) => sum + value, 0));
}

function space({ select }) {
  const available = new Map(
    select("host_filesystem_available_bytes").map(({ labels, values }) => [mountKey(labels), values]),
  );
  const mounts = select("host_filesystem_size_bytes")
    .filter(({ labels }) => available.has(mountKey(labels)))
    .map(({ labels, values }) => {
      const free = available.get(mountKey(labels));
      const used = ratioColumn(free, values).map((ratio) => (ratio === null ? null : 1 - ratio));
      return { mount: labels.mount ?? "", key: mountKey(labels), used, now: lastKnown(used), free: lastKnown(free) };
    })
    .sort((a, b) => (b.now ?? -1) - (a.now ?? -1));
  // By name, as with devices: a filesystem that overtakes another keeps its colour.
  const drawn = mounts.slice(0, MOUNTS_MAX).sort((a, b) => (a.key < b.key ? -1 : 1));
  const fullest = mounts[0];
  return {
    headline: percent(fullest?.now),
    note: fullest ? `${fullest.mount} · ${bytes(fullest.free)} free` : "",
    scale: { kind: "ratio", format: percent, min: 0, max: 1 },
    lines: drawn.map(({ mount, key, used }, color) => ({ ...PLAIN, key, label: mount, values: used, color })),
  };
}

function mountKey({ mount, device }) {
  return `${mount} ${device}`;
}

function processes({ select }) {
  const lines = lineOf(select("host_processes"), { label: "processes", color: 0, fill: true });
  const uptime = lastKnown(select("host_uptime_seconds")[0]?.values ?? []);
  return {
    headline: count(lastKnown(lines[0]?.values ?? [])),
    note: uptime === null ? "" : `machine up for ${duration(uptime)}`,
    scale: { kind: "number", format: count, padded: true },
    lines,
  };
}

function lineOf(found, look) {
  return found.slice(0, 1).map(({ values }) => ({ ...PLAIN, key: look.label, values, ...look }));
}
