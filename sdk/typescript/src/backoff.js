/**
 * When to try again after a lost socket: exponential with jitter, and never past the time in which the gateway keeps the
 * call. Pure: the clock and the dice are passed in.
 */

/** The first wait lies between half of this and all of it. */
const FIRST_MS = 250;
/** No wait is longer. */
const LONGEST_MS = 4_000;

/** The attempts after one loss. */
export class Backoff {
  #deadlineMs;
  #random;
  #attempt = 0;

  /**
   * @param {number} lostAtMs when the socket was lost
   * @param {number} withinMs how long the gateway keeps the call (`resume_within_ms`)
   * @param {() => number} random 0 up to 1
   */
  constructor(lostAtMs, withinMs, random = Math.random) {
    this.#deadlineMs = lostAtMs + withinMs;
    this.#random = random;
  }

  /** How much time is left. @param {number} nowMs */
  leftMs(nowMs) {
    return Math.max(0, this.#deadlineMs - nowMs);
  }

  /**
   * How long to wait before the next attempt; nothing, if the gateway will have given the call up by then.
   * @param {number} nowMs
   * @returns {number | undefined}
   */
  nextWaitMs(nowMs) {
    const ceilingMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#attempt);
    const waitMs = ceilingMs / 2 + (this.#random() * ceilingMs) / 2;
    if (waitMs >= this.leftMs(nowMs)) return undefined;
    this.#attempt += 1;
    return waitMs;
  }
}
