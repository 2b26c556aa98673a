/** A world for signalling without a browser: sockets that tests speak for, and a clock that only they move. */

/** One socket as the SDK opened it. */
export class FakeSocket {
  /** @param {string} address @param {string[]} protocols */
  constructor(address, protocols) {
    this.address = address;
    this.protocols = protocols;
    /** @type {any[]} */
    this.sent = [];
    /** @type {number | undefined} */
    this.closedWith = undefined;
    /** @type {((event: any) => void) | null} */
    this.onmessage = null;
    /** @type {((event: any) => void) | null} */
    this.onclose = null;
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }

  /** @param {number} [code] */
  close(code) {
    this.closedWith = code;
  }

  /** The gateway says something. @param {object} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** The socket is closed from afar. */
  lose(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
  }
}

/** Sockets, clock and dice; a die always shows `roll`. */
export class FakeWorld {
  nowIsMs = 0;
  /** @type {FakeSocket[]} */
  sockets = [];
  /** @type {Set<{ atMs: number, callback: () => void }>} */
  timers = new Set();

  constructor(roll = 1) {
    this.roll = roll;
  }

  /** @param {string} address @param {string[]} protocols */
  open(address, protocols) {
    const socket = new FakeSocket(address, protocols);
    this.sockets.push(socket);
    return socket;
  }

  nowMs() {
    return this.nowIsMs;
  }

  random() {
    return this.roll;
  }

  /** @param {number} ms @param {() => void} callback */
  later(ms, callback) {
    const timer = { atMs: this.nowIsMs + ms, callback };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  /** Time passes, timer by timer. @param {number} ms */
  pass(ms) {
    const endMs = this.nowIsMs + ms;
    for (;;) {
      const [next] = [...this.timers].filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs);
      if (!next) break;
      this.timers.delete(next);
      this.nowIsMs = next.atMs;
      next.callback();
    }
    this.nowIsMs = endMs;
  }

  /** The socket that was opened last. */
  get last() {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }
}

/** The gateway's `session`. @param {string} resumeToken */
export function session(resumeToken) {
  return { type: "session", session_id: "0-1-ab", resume_token: resumeToken, resume_within_ms: 15_000, ice_servers: [] };
}
