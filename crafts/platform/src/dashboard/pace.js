// How often the page may ask. It watches a server that may serve one request at a time, so it must
// never be the load it is measuring. No DOM here.

export const CYCLE_MS_MIN = 1_000;
export const CYCLE_HIDDEN_MS_MIN = 15_000;
// A cycle that took t is followed by a rest of 3 t: the page is never more than a quarter of the
// server's work, however slow the server becomes.
export const REST_RATIO = 3;

export const BACKOFF_MS_MIN = 1_000;
export const BACKOFF_MS_MAX = 15_000;

/** Milliseconds to rest after a cycle that succeeded. */
export function restMs(tookMs, hidden) {
  const period = hidden ? CYCLE_HIDDEN_MS_MIN : CYCLE_MS_MIN;
  return Math.max(period - tookMs, REST_RATIO * tookMs);
}

/**
 * Milliseconds to wait after the n-th failure in a row (n from 1). `random` is in 0..1 and takes up
 * to a fifth off, so that many open pages do not come back in step after a restart.
 */
export function backoffMs(failures, random) {
  const doubled = Math.min(BACKOFF_MS_MIN * 2 ** (failures - 1), BACKOFF_MS_MAX);
  return Math.round(doubled * (1 - 0.2 * random));
}
