/**
 * The signalling socket of one session, and the next one when it is lost: `bearer.<token>` at first, `resume.<resume_token>`
 * from then on. Knows nothing about media. Sockets, clock and dice are passed in, so that it runs without a browser.
 *
 * The gateway keeps a call for `resume_within_ms` after the loss of its socket; so long it is tried again (backoff.js). What
 * a page says meanwhile waits in order, except offers: those are made anew on the next socket.
 */

import { Backoff } from "./backoff.js";
import { SUBPROTOCOL, parse } from "./dialect.js";
import { CallError, refusal } from "./errors.js";

/** @typedef {import("./dialect.js").ClientMessage} ClientMessage */
/** @typedef {import("./dialect.js").ServerMessage} ServerMessage */
/** @typedef {import("./dialect.js").SessionMessage} SessionMessage */

/** How long a first socket may take until the gateway has accepted the token. */
export const CONNECT_WITHIN_MS = 10_000;
/** How long an attempt to resume may take; a network that swallows packets must not take the whole time. */
export const RESUME_WITHIN_MS = 4_000;
/** How often a ping is sent. Browsers notice a dead network only after minutes. */
export const PING_EVERY_MS = 5_000;
/** A socket on which nothing came for so long after a ping is lost. */
export const PONG_WITHIN_MS = 5_000;
/** The same when the network is known to have changed. */
export const PROBE_WITHIN_MS = 1_500;
/** The most messages that wait for the next socket. */
export const WAITING_MAX = 64;

/** The page is done (RFC 6455 section 7.4.1). */
const CLOSE_NORMAL = 1000;
/** A socket that we give up in order to come back on another one; anything but 1000, 1001 and no code says so. */
const CLOSE_TO_RESUME = 4000;
/** Refusals that may pass while the call goes on: a limit, an overload. */
const PASSING = new Set([1013, 4429]);

/** @typedef {"connecting" | "connected" | "reconnecting" | "closed"} LineState */

/** How a session ended; an error, unless it ended as calls do. @typedef {{ code: number, reason: string, error?: CallError }} Closed */

/**
 * The part of a WebSocket that is used.
 * @typedef {{
 *   onmessage: ((event: any) => void) | null,
 *   onclose: ((event: any) => void) | null,
 *   send(text: string): void,
 *   close(code?: number): void,
 * }} Socket
 */

/**
 * What the world does for us.
 * @typedef {{
 *   open(address: string, protocols: string[]): Socket,
 *   nowMs(): number,
 *   later(ms: number, callback: () => void): () => void,
 *   random(): number,
 * }} World
 */

/**
 * Who hears what the socket brings.
 * @typedef {{
 *   session(message: SessionMessage, resumed: boolean): void,
 *   message(message: ServerMessage): void,
 *   line(state: LineState): void,
 *   closed(end: Closed): void,
 * }} Listener
 */

/** The browser's own world. @type {World} */
export const BROWSER = {
  open: (address, protocols) => new WebSocket(address, protocols),
  nowMs: () => performance.now(),
  later: (ms, callback) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: Math.random,
};

/**
 * Where a tenant's pages connect to.
 * @param {string} url the gateway, as `wss://gw.example.com:7443`
 * @param {string} tenantId
 */
export function signallingAddress(url, tenantId) {
  if (!/^wss?:\/\/[^/?#]+\/?$/.test(url)) {
    throw new CallError("bad_url", `${url} is no address of a gateway: wss://host:port is expected`, "config");
  }
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(tenantId)) {
    throw new CallError("bad_tenant", "a tenant's name is 1 to 64 of A-Z a-z 0-9 _ -", "caller");
  }
  return `${url.replace(/\/$/, "")}/signal/browser/${tenantId}`;
}

/** One session's way to the gateway. */
export class Signalling {
  #address;
  #token;
  #listener;
  #world;
  /** @type {LineState} */
  #state = "connecting";
  /** @type {Socket | undefined} */
  #socket;
  /** @type {string | undefined} */
  #resumeToken;
  #resumeWithinMs = 0;
  /** @type {Backoff | undefined} */
  #backoff;
  /** @type {ClientMessage[]} */
  #waiting = [];
  #pings = 0;
  /** Ends the timer that runs: until the session is there, until the next ping or its answer, until the next attempt. */
  #cancel = () => {};

  /**
   * @param {{ address: string, token: string }} to
   * @param {Listener} listener
   * @param {World} world
   */
  constructor({ address, token }, listener, world = BROWSER) {
    this.#address = address;
    this.#token = token;
    this.#listener = listener;
    this.#world = world;
  }

  get state() {
    return this.#state;
  }

  /** How long the gateway still keeps the call while there is no socket. */
  get leftMs() {
    return this.#backoff?.leftMs(this.#world.nowMs()) ?? 0;
  }

  /** Opens the first socket. */
  start() {
    if (!/^[A-Za-z0-9._-]+$/.test(this.#token)) {
      const error = new CallError(4401, "this is no token: three parts of letters, digits, - and _ are expected", "caller");
      return this.#end({ code: 4401, reason: "", error });
    }
    this.#open(`bearer.${this.#token}`, CONNECT_WITHIN_MS);
  }

  /**
   * Says `message`, now or on the next socket. False: it can't be said any more, or it is an offer without a socket.
   * @param {ClientMessage} message
   */
  send(message) {
    if (this.#state === "connected") {
      this.#socket?.send(JSON.stringify(message));
      return true;
    }
    if (this.#state === "closed" || message.type === "offer" || this.#waiting.length >= WAITING_MAX) return false;
    this.#waiting.push(message);
    return true;
  }

  /** The network has changed: looks whether the socket still lives, or tries the next one at once. */
  probe() {
    if (this.#state === "connected") this.#ping(PROBE_WITHIN_MS);
    else if (this.#state === "reconnecting" && !this.#socket) this.#resume();
  }

  /** The page is done. */
  close() {
    this.#socket?.close(CLOSE_NORMAL);
    this.#end({ code: CLOSE_NORMAL, reason: "" });
  }

  /** @param {string} credential @param {number} withinMs */
  #open(credential, withinMs) {
    const socket = this.#world.open(this.#address, [SUBPROTOCOL, credential]);
    this.#socket = socket;
    socket.onmessage = (/** @type {{ data: unknown }} */ { data }) => {
      if (socket === this.#socket) this.#receive(data);
    };
    socket.onclose = (/** @type {{ code: number, reason: string }} */ { code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason);
    };
    this.#after(withinMs, () => this.#giveUpSocket());
  }

  /** @param {unknown} data */
  #receive(data) {
    let message;
    try {
      message = parse(data);
    } catch (error) {
      if (!(error instanceof CallError)) throw error;
      this.#socket?.close(CLOSE_NORMAL);
      return this.#end({ code: 4400, reason: error.message, error });
    }
    // Whatever came: the socket lives.
    if (this.#state === "connected") this.#after(PING_EVERY_MS, () => this.#ping(PONG_WITHIN_MS));
    if (message?.type === "session") this.#accepted(message);
    else if (message && message.type !== "pong") this.#listener.message(message);
  }

  /** @param {SessionMessage} message */
  #accepted(message) {
    const resumed = this.#resumeToken !== undefined;
    this.#resumeToken = message.resume_token;
    this.#resumeWithinMs = message.resume_within_ms ?? 0;
    this.#backoff = undefined;
    this.#after(PING_EVERY_MS, () => this.#ping(PONG_WITHIN_MS));
    this.#enter("connected");
    this.#listener.session(message, resumed);
    for (const waiting of this.#waiting.splice(0)) this.send(waiting);
  }

  /** @param {number} withinMs */
  #ping(withinMs) {
    this.#pings += 1;
    this.send({ type: "ping", id: this.#pings });
    this.#after(withinMs, () => this.#giveUpSocket());
  }

  /** The socket is silent for too long: another one is needed. */
  #giveUpSocket() {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close(CLOSE_TO_RESUME);
    this.#closed(1006, "nothing came from the gateway");
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    this.#socket = undefined;
    this.#cancel();
    const error = refusal(code, reason);
    const passing = this.#state === "reconnecting" && PASSING.has(code);
    if (error && !passing) return this.#end({ code, reason, error });
    if (code === CLOSE_NORMAL || code === 1001) return this.#end({ code, reason });
    if (this.#state === "connecting") return this.#end({ code, reason, error: unreachable(this.#address) });
    if (!this.#resumeToken) return this.#end({ code, reason, error: lost(0) });
    this.#backoff ??= new Backoff(this.#world.nowMs(), this.#resumeWithinMs, () => this.#world.random());
    const waitMs = this.#backoff.nextWaitMs(this.#world.nowMs());
    if (waitMs === undefined) return this.#end({ code, reason, error: lost(this.#resumeWithinMs) });
    this.#after(waitMs, () => this.#resume());
    this.#enter("reconnecting");
  }

  #resume() {
    this.#cancel();
    this.#open(`resume.${this.#resumeToken}`, RESUME_WITHIN_MS);
  }

  /** @param {Closed} end */
  #end(end) {
    if (this.#state === "closed") return;
    this.#cancel();
    this.#socket = undefined;
    this.#waiting = [];
    this.#enter("closed");
    this.#listener.closed(end);
  }

  /** @param {LineState} state */
  #enter(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#listener.line(state);
  }

  /** @param {number} ms @param {() => void} callback */
  #after(ms, callback) {
    this.#cancel();
    this.#cancel = this.#world.later(ms, callback);
  }
}

/** Browsers tell a page nothing about why a socket did not open. @param {string} address */
function unreachable(address) {
  const host = new URL(address).host;
  const why = "the network, the address, its certificate, or this page's origin is not in the tenant's list";
  return new CallError("unreachable", `no session with ${host}: ${why}`, "config");
}

/** @param {number} withinMs */
function lost(withinMs) {
  const tried = withinMs > 0 ? ` and did not come back within ${withinMs / 1000} s` : "";
  return new CallError("connection_lost", `the connection to the gateway was lost${tried}`, "caller");
}
