/**
 * One call, as a page sees it: what can be done with it, and what becomes of it. The session carries its words.
 */

import { EventType } from "./dialect.js";
import { CallError } from "./errors.js";
import { typedEvents } from "./typed_events.js";

/** @typedef {import("./dialect.js").CallEvent} CallEvent */
/** @typedef {import("./dialect.js").ClientMessage} ClientMessage */
/** @typedef {import("./dialect.js").ServerMessage} ServerMessage */
/** @typedef {import("./dialect.js").StatsMessage} StatsMessage */
/** @typedef {import("./statistics.js").StatsSummary} StatsSummary */

/**
 * `dialling`, perhaps `ringing`; or `incoming`, then `answering`; `active` and `held` in turn; `ended`.
 * @typedef {"dialling" | "ringing" | "incoming" | "answering" | "active" | "held" | "ended"} CallState
 */

/** How a call ended: the cause of ITU-T Q.850, the gateway's words, and an error if somebody is to blame. @typedef {{ cause?: number, reason: string, error?: CallError }} CallEnd */

/**
 * @typedef {{
 *   state: CallState,
 *   event: CallEvent,
 *   digit: { digit: string, durationMs: number },
 *   track: MediaStreamTrack,
 *   stats: StatsMessage,
 *   error: CallError,
 *   ended: CallEnd,
 * }} CallEvents
 */

/**
 * What the call needs of its session.
 * @typedef {{
 *   send(message: ClientMessage): boolean,
 *   mute(on: boolean): void,
 *   insertDigits(digits: string, durationMs: number): boolean,
 *   remoteTrack(): MediaStreamTrack | undefined,
 *   getStats(): Promise<StatsSummary>,
 * }} CallLine
 */

/** Call rejected. */
const CALL_REJECTED = 21;
/** How long a digit is pressed, if nothing else is said. */
const DIGIT_MS = 120;
/** The shortest and the longest digit that the gateway takes. */
const DIGIT_MS_MIN = 40;
const DIGIT_MS_MAX = 2_000;
/** The most digits at once. */
const DIGITS_MAX = 32;
/** The most CallEvents that are kept. */
const EVENTS_MAX = 1_000;

/**
 * What a message makes of a call in this state.
 * @param {CallState} state
 * @param {ServerMessage} message
 * @returns {CallState}
 */
export function nextState(state, message) {
  if (state === "ended") return state;
  if (message.type === "bye") return "ended";
  if (message.type === "ringing") return state === "dialling" ? "ringing" : state;
  if (message.type !== "event") return state;
  switch (message.event_type) {
    case EventType.CHANNEL_ANSWER:
    case EventType.CHANNEL_RESUME:
      return "active";
    case EventType.CHANNEL_HOLD:
      return "held";
    default:
      return state;
  }
}

/** A call, outbound or inbound. */
export class Call extends (/** @type {typeof typedEvents<CallEvents>} */ (typedEvents)()) {
  #line;
  /** @type {CallState} */
  #state;
  #muted = false;
  /** @type {CallError | undefined} */
  #lastError;
  /** @type {CallEnd | undefined} */
  #end;
  /** @type {string | undefined} */
  #callSid;
  /** Every CallEvent, in order. @type {CallEvent[]} */
  events = [];

  /**
   * @param {CallLine} line
   * @param {{ direction: "outbound" | "inbound", from: string, to: string, callSid?: string }} call
   */
  constructor(line, { direction, from, to, callSid }) {
    super();
    this.#line = line;
    this.#callSid = callSid;
    this.#state = direction === "outbound" ? "dialling" : "incoming";
    this.direction = direction;
    this.from = from;
    this.to = to;
  }

  get state() {
    return this.#state;
  }

  /** The gateway's name of the call, once it is known. */
  get callSid() {
    return this.#callSid;
  }

  get muted() {
    return this.#muted;
  }

  /** How it ended, once it has. */
  get end() {
    return this.#end;
  }

  /** The far end's audio. */
  get remoteTrack() {
    return this.#line.remoteTrack();
  }

  /** Takes an incoming call. */
  answer() {
    const callSid = this.#incoming("answered");
    this.#line.send({ type: "accept", call_sid: callSid });
    this.#enter("answering");
  }

  /** Refuses an incoming call. @param {number} [cause] of ITU-T Q.850, such as 17 for busy */
  reject(cause = CALL_REJECTED) {
    this.#line.send({ type: "reject", call_sid: this.#incoming("rejected"), q850_cause: cause });
  }

  /** Silence instead of the microphone. @param {boolean} on */
  mute(on) {
    this.#muted = on;
    this.#line.mute(on);
  }

  /** The far end waits, or is taken back; the state follows when the gateway has done it. @param {boolean} on */
  hold(on) {
    this.#line.send({ type: on ? "hold" : "unhold" });
  }

  /**
   * Presses keys: as RFC 4733 events in the audio, or by the gateway where the browser can't.
   * @param {string} digits 0-9 * # A-D
   * @param {{ durationMs?: number, via?: "audio" | "gateway" }} [options]
   */
  sendDigits(digits, { durationMs = DIGIT_MS, via = "audio" } = {}) {
    if (!/^[0-9*#A-D]+$/.test(digits) || digits.length > DIGITS_MAX) {
      throw new CallError("invalid_value", `digits are 1 to ${DIGITS_MAX} of 0-9 * # A-D`, "caller");
    }
    if (!(durationMs >= DIGIT_MS_MIN && durationMs <= DIGIT_MS_MAX)) {
      throw new CallError("invalid_value", `a digit is ${DIGIT_MS_MIN} to ${DIGIT_MS_MAX} ms long`, "caller");
    }
    if (via === "audio" && this.#line.insertDigits(digits, durationMs)) return;
    this.#line.send({ type: "dtmf", digits, duration_ms: durationMs });
  }

  /** Ends the call. Without a socket the gateway hears it on the next one; nothing more is said from now on. */
  hangUp() {
    if (this.#state === "ended") return;
    this.#line.mute(true);
    this.#line.send({ type: "hangup" });
  }

  /** How the call goes, in a dozen figures. */
  getStats() {
    return this.#line.getStats();
  }

  /** What the gateway says about the call. For the session only. @param {ServerMessage} message */
  receive(message) {
    const blamed = this.#lastError;
    this.#lastError = undefined;
    switch (message.type) {
      case "ringing":
        this.#callSid = message.call_sid;
        break;
      case "event":
        this.#callSid = message.call_sid;
        if (this.events.length < EVENTS_MAX) this.events.push(message);
        this.#tell("event", message);
        break;
      case "dtmf":
        this.#tell("digit", { digit: message.digit, durationMs: message.duration_ms });
        break;
      case "stats":
        this.#tell("stats", message);
        break;
      case "error":
        this.#lastError = new CallError(message.code, message.message, message.fault);
        this.#tell("error", this.#lastError);
        break;
      case "bye":
        // An error that comes right before tells why.
        return this.finish({ cause: message.q850_cause, reason: message.reason, error: blamed });
    }
    this.#enter(nextState(this.#state, message));
  }

  /** The far end's audio has come. For the session only. @param {MediaStreamTrack} track */
  receiveTrack(track) {
    this.#tell("track", track);
  }

  /** The call is over. For the session only. @param {CallEnd} end */
  finish(end) {
    if (this.#end) return;
    this.#end = end;
    this.#enter("ended");
    this.#tell("ended", end);
  }

  /** @param {string} done @returns {string} */
  #incoming(done) {
    if (this.#state !== "incoming" || this.#callSid === undefined) {
      throw new CallError("no_call", `only an incoming call can be ${done}; this one is ${this.#state}`, "caller");
    }
    return this.#callSid;
  }

  /** @param {CallState} state */
  #enter(state) {
    if (this.#state === state) return;
    this.#state = state;
    this.#tell("state", state);
  }

  /**
   * @template {keyof CallEvents} Name
   * @param {Name} name
   * @param {CallEvents[Name]} detail
   */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
