// What the page remembers of the samples, and the arithmetic on it. No DOM here.
//
// Everything stands on one grid of whole seconds (the queries ask with step=1). A *column* is an
// array with one entry a second from `from` to `to`, both included; `null` means "not known".

// The longest window the page offers is 15 minutes; the margin is what the rates look back over.
export const KEPT_S_MAX = 15 * 60;
export const MARGIN_S = 20;

// One question never asks for more than this: a longer past is fetched in several cycles, newest
// first, so that no single request is long.
export const CHUNK_S_MAX = 320;

// Samples reach the storage a moment after they were taken. The newest seconds are therefore asked
// for again, and the later answer replaces the earlier one.
export const OVERLAP_S = 4;

/** The samples of the last minutes, by series, and the span of time they were asked for. */
export class SampleStore {
  constructor() {
    this.forget();
  }

  forget() {
    this.series = new Map();
    this.coveredFrom = null;
    this.coveredTo = null;
  }

  /** The span to ask for next at the new end, or after too long a gap the newest chunk alone. */
  nextSpan(now, windowS) {
    const oldest = now - Math.min(windowS + MARGIN_S, CHUNK_S_MAX);
    const wentBack = this.coveredTo !== null && now < this.coveredTo - OVERLAP_S;
    const gapTooLong = this.coveredTo !== null && now - this.coveredTo > CHUNK_S_MAX - OVERLAP_S;
    if (wentBack || gapTooLong) {
      this.forget();
    }
    return { start: this.coveredTo === null ? oldest : this.coveredTo - OVERLAP_S, end: now };
  }

  /** The span still missing at the old end of the window, or null. */
  missingSpan(now, windowS) {
    const wanted = now - windowS - MARGIN_S;
    if (this.coveredFrom === null || this.coveredFrom <= wanted) {
      return null;
    }
    const end = this.coveredFrom - 1;
    return { start: Math.max(wanted, end - CHUNK_S_MAX), end };
  }

  /** Takes over the answer to one question: inside its span, the answer replaces what was known. */
  merge(matrix, span) {
    const fresh = new Map();
    for (const one of matrix) {
      const labels = one.metric ?? {};
      fresh.set(seriesKey(labels), { labels, points: wholeSeconds(one.values ?? [], span) });
    }
    for (const [key, one] of this.series) {
      one.points = spliced(one.points, fresh.get(key)?.points ?? [], span);
      fresh.delete(key);
    }
    for (const [key, one] of fresh) {
      this.series.set(key, one);
    }
    this.coveredFrom = this.coveredFrom === null ? span.start : Math.min(this.coveredFrom, span.start);
    this.coveredTo = this.coveredTo === null ? span.end : Math.max(this.coveredTo, span.end);
    this.trim();
  }

  trim() {
    const oldest = this.coveredTo - KEPT_S_MAX - MARGIN_S;
    for (const [key, one] of this.series) {
      const first = one.points.findIndex(([second]) => second >= oldest);
      one.points = first === -1 ? [] : one.points.slice(first);
      if (one.points.length === 0) {
        this.series.delete(key);
      }
    }
    this.coveredFrom = Math.max(this.coveredFrom, oldest);
  }

  /** The series of one metric and host, in the order of their labels (core 2 before core 10). */
  select(name, host) {
    const found = [...this.series.values()].filter(
      ({ labels }) => labels.__name__ === name && (labels.host ?? "") === host,
    );
    return found.sort((a, b) => NATURAL.compare(seriesKey(a.labels), seriesKey(b.labels)));
  }

  hosts() {
    const names = new Set([...this.series.values()].map(({ labels }) => labels.host ?? ""));
    return [...names].sort(NATURAL.compare);
  }
}

const NATURAL = new Intl.Collator("en", { numeric: true });

export function seriesKey(labels) {
  return JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
}

// The server's text becomes numbers here and nowhere else; what is no finite number is left out.
function wholeSeconds(values, span) {
  const points = [];
  for (const [time, text] of values) {
    const second = Math.round(Number(time));
    const value = Number(text);
    const inside = second >= span.start && second <= span.end;
    if (inside && Number.isFinite(value)) {
      points.push([second, value]);
    }
  }
  return points;
}

function spliced(old, fresh, { start, end }) {
  const before = old.filter(([second]) => second < start);
  const after = old.filter(([second]) => second > end);
  return [...before, ...fresh, ...after];
}

/** The points of one series as a column. */
export function column(points, from, to) {
  const values = new Array(to - from + 1).fill(null);
  for (const [second, value] of points) {
    if (second >= from && second <= to) {
      values[second - from] = value;
    }
  }
  return values;
}

/** By how much a counter rose between two readings. A fall means that it began again from zero. */
export function increase(previous, current) {
  return current >= previous ? current - previous : current;
}

/**
 * The per-second rate of a counter column: at each second the rise over the `windowS` seconds
 * before it. One second alone would flicker, as a second of the grid may see no sample or two.
 */
export function rates(counter, windowS) {
  const risen = new Array(counter.length).fill(null);
  for (let i = 1; i < counter.length; i += 1) {
    if (counter[i] !== null && counter[i - 1] !== null) {
      risen[i] = increase(counter[i - 1], counter[i]);
    }
  }
  return counter.map((value, i) => (value === null ? null : meanOfKnown(risen, i - windowS + 1, i)));
}

function meanOfKnown(values, first, last) {
  let sum = 0;
  let known = 0;
  for (let i = Math.max(0, first); i <= last; i += 1) {
    if (values[i] !== null) {
      sum += values[i];
      known += 1;
    }
  }
  return known === 0 ? null : sum / known;
}

/** At each second the mean of the columns that are known there. */
export function meanColumn(columns) {
  return overColumns(columns, (known) => known.reduce((sum, value) => sum + value, 0) / known.length);
}

export function maxColumn(columns) {
  return overColumns(columns, (known) => Math.max(...known));
}

/** At each second the columns that are known there, put together by `combine`. */
export function overColumns(columns, combine) {
  const length = columns[0]?.length ?? 0;
  return Array.from({ length }, (_, i) => {
    const known = columns.map((values) => values[i]).filter((value) => value !== null);
    return known.length === 0 ? null : combine(known);
  });
}

/** One column divided by another, where both are known and the divisor is not zero. */
export function ratioColumn(top, bottom) {
  return top.map((value, i) => (value === null || !bottom[i] ? null : value / bottom[i]));
}

export function lastKnown(values) {
  for (let i = values.length - 1; i >= 0; i -= 1) {
    if (values[i] !== null) {
      return values[i];
    }
  }
  return null;
}

const SILENT_S_MIN = 10;

/**
 * When did samples really arrive? A range evaluation repeats the last value for up to five minutes,
 * so an agent that stopped looks like a flat line. Uptime rises with every sample: where it stands
 * still for longer than a few of the agent's usual intervals, nothing arrived.
 *
 * Gives for each second whether it belongs to arriving samples, the usual interval between them,
 * after how long they are missed, and the index of the last arrival (null when there was none).
 */
export function heartbeat(uptime) {
  const arrivals = [];
  uptime.forEach((value, i) => {
    if (value !== null && value !== uptime[i - 1]) {
      arrivals.push(i);
    }
  });
  const intervalS = median(arrivals.slice(1).map((index, i) => index - arrivals[i])) ?? 1;
  const silentS = Math.max(SILENT_S_MIN, 3 * intervalS);
  const alive = new Array(uptime.length).fill(false);
  arrivals.forEach((arrival, i) => {
    const next = arrivals[i + 1] ?? uptime.length;
    // A sample stands for its usual interval, and for a short delay; not for a silence.
    const until = next - arrival <= silentS ? next : arrival + intervalS;
    alive.fill(true, arrival, until);
  });
  return { alive, intervalS, silentS, lastArrival: arrivals.at(-1) ?? null };
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? null;
}

/** The column with everything removed that is only an echo of the last sample. */
export function whereAlive(values, alive) {
  return values.map((value, i) => (alive[i] ? value : null));
}

/** Readings of the stages' counters over time, and the rates between them. */
export class CounterHistory {
  constructor(keptMs) {
    this.keptMs = keptMs;
    this.readings = [];
  }

  /** Adds a reading. Two readings at the same moment say nothing about a rate: the second is left. */
  push(atMs, counters) {
    const last = this.readings.at(-1);
    if (last && atMs < last.atMs) {
      this.readings = [];
    }
    if (!last || atMs !== last.atMs) {
      this.readings.push({ atMs, counters });
    }
    while (this.readings.length > 2 && this.readings[0].atMs < atMs - this.keptMs) {
      this.readings.shift();
    }
  }

  /** Per second, over the readings of the last `windowMs`; null until there are two of them. */
  rate(name, windowMs) {
    return this.rateAt(name, windowMs, this.readings.length - 1);
  }

  /** The rate as it was at every reading: what a sparkline draws. */
  rateLine(name, windowMs) {
    const line = this.readings.map(({ atMs }, i) => [atMs, this.rateAt(name, windowMs, i)]);
    return line.filter(([, value]) => value !== null);
  }

  /** The plain values of a gauge that stands among the counters. */
  valueLine(name) {
    const line = this.readings.map(({ atMs, counters }) => [atMs, counters[name]]);
    return line.filter(([, value]) => Number.isFinite(value));
  }

  rateAt(name, windowMs, lastIndex) {
    let risen = 0;
    let i = lastIndex;
    const end = this.readings[lastIndex];
    // At least one step back, however long ago it was; then on while the window reaches.
    while (i > 0 && (i === lastIndex || this.readings[i - 1].atMs >= end.atMs - windowMs)) {
      const before = this.readings[i - 1].counters[name];
      const after = this.readings[i].counters[name];
      if (!Number.isFinite(before) || !Number.isFinite(after)) {
        break;
      }
      risen += increase(before, after);
      i -= 1;
    }
    return i === lastIndex || i < 0 ? null : (risen * 1000) / (end.atMs - this.readings[i].atMs);
  }
}
