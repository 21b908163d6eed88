// Numbers as a person reads them: three significant digits, a unit, never "NaN". A figure that
// changes every second keeps its zeroes (4.00, 4.01), so that it does not dance; a mark on an axis
// drops them (see `tick`). No DOM here.

export const UNKNOWN = "—";

const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const COUNT_UNITS = ["", " k", " M", " G", " T"];

/** 1536 → "1.50 KiB". */
export function bytes(value) {
  return scaled(value, 1024, BINARY_UNITS.map((unit) => ` ${unit}`));
}

/** 1536 → "1.50 KiB/s". */
export function bytesPerSecond(value) {
  return isNumber(value) ? `${bytes(value)}/s` : UNKNOWN;
}

/** 0.257 → "25.7 %". */
export function percent(ratio) {
  if (!isNumber(ratio)) {
    return UNKNOWN;
  }
  return `${(ratio * 100).toFixed(ratio > 0 && ratio < 0.0995 ? 1 : 0)} %`;
}

/** 12345 → "12.3 k"; whole numbers below 10 000 stay whole. */
export function count(value) {
  if (isNumber(value) && Number.isInteger(value) && Math.abs(value) < 10_000) {
    return String(value);
  }
  return scaled(value, 1000, COUNT_UNITS);
}

/** 1.23456 → "1.23". */
export function decimal(value) {
  return isNumber(value) ? value.toFixed(2) : UNKNOWN;
}

/** 1.234 → "1.23 ms", 1500 → "1.50 s". */
export function milliseconds(value) {
  if (!isNumber(value)) {
    return UNKNOWN;
  }
  return value < 1000 ? `${significant(value)} ms` : `${significant(value / 1000)} s`;
}

/** The two largest parts of a length of time: 93784 → "1 d 2 h". */
export function duration(seconds) {
  if (!isNumber(seconds)) {
    return UNKNOWN;
  }
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  if (first === -1) {
    return "0 s";
  }
  return parts
    .slice(first, first + 2)
    .filter(([amount]) => amount > 0)
    .map(([amount, unit]) => `${amount} ${unit}`)
    .join(" ");
}

const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

/** The reader's own wall clock: "13:45". */
export function clockMinutes(ms) {
  return clock(ms).slice(0, 5);
}

/** The reader's own wall clock: "13:45:23". */
export function clock(ms) {
  return isNumber(ms) ? CLOCK.format(new Date(ms)) : UNKNOWN;
}

function scaled(value, step, units) {
  if (!isNumber(value)) {
    return UNKNOWN;
  }
  let size = value;
  let unit = 0;
  // 999.5 would be written as "1000": it belongs to the next unit already.
  while (Math.abs(size) >= step - 0.5 && unit < units.length - 1) {
    size /= step;
    unit += 1;
  }
  return `${significant(size)}${units[unit]}`;
}

/** The same text for an axis, where "4.00 GiB" is "4 GiB". */
export function tick(text) {
  return text.replace(/(\.\d*?)0+(?!\d)/, (_, kept) => (kept === "." ? "" : kept));
}

// Three digits: 1.50, 12.3, 123.
function significant(value) {
  const magnitude = Math.abs(value);
  const digits = value === 0 || magnitude >= 99.95 ? 0 : magnitude >= 9.995 ? 1 : 2;
  return value.toFixed(digits);
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}
