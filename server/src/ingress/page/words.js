// What the page says in words: states, events, causes and blame. Pure.

/** @typedef {import("/sdk/index.js").CallState} CallState */
/** @typedef {import("/sdk/index.js").CallEvent} CallEvent */
/** @typedef {import("/sdk/index.js").Fault} Fault */
/** @typedef {import("/sdk/index.js").LineState} LineState */

/** @type {Readonly<Record<CallState, string>>} */
export const CALL_STATES = {
  dialling: "Calling…",
  ringing: "Ringing…",
  incoming: "Incoming call",
  answering: "Answering…",
  active: "In call",
  held: "On hold",
  ended: "Call ended",
};

/** @type {Readonly<Record<LineState, string>>} */
export const LINE_STATES = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  closed: "Not connected",
};

/** Who has to do something, for the person at the page. @type {Readonly<Record<Fault, string>>} */
const FAULTS = {
  caller: "Something on this side has to change.",
  config: "The operator's configuration has to change.",
  trunk: "The far end, or the carrier to it, is to blame.",
  vendor: "The vendor whose service is spoken is to blame.",
  agent: "The agent behind the call is to blame.",
  us: "The gateway is to blame; its operator should know.",
};

/** @param {Fault} fault */
export function blame(fault) {
  return FAULTS[fault] ?? "";
}

/** ITU-T Q.850, as far as people meet them. @type {Readonly<Record<number, string>>} */
const CAUSES = {
  1: "The number is not in use",
  3: "There is no route to it",
  16: "Hung up",
  17: "Busy",
  18: "No answer",
  19: "No answer",
  20: "Not reachable",
  21: "Rejected",
  22: "The number has changed",
  27: "The destination is out of order",
  28: "The number is not complete",
  31: "Ended",
  34: "All lines are busy",
  38: "The network is out of order",
  41: "A temporary failure",
  42: "The gateway is overloaded",
  57: "Not allowed",
  58: "The far end has no audio that fits",
  102: "A timer ran out",
  127: "Interworking",
};

/** @param {number | undefined} cause */
export function causeInWords(cause) {
  if (cause === undefined) return undefined;
  return CAUSES[cause] ?? `Cause ${cause}`;
}

/** @type {Readonly<Record<number, readonly [name: string, words: string]>>} */
const EVENTS = {
  1: ["CHANNEL_CREATE", "Call created"],
  2: ["CHANNEL_ANSWER", "Answered"],
  3: ["CHANNEL_HANGUP_COMPLETE", "Call ended"],
  4: ["CHANNEL_HOLD", "On hold"],
  5: ["CHANNEL_RESUME", "Off hold"],
};

/**
 * @param {CallEvent} event
 * @returns {[words: string, details: string]}
 */
export function eventInWords(event) {
  const [name, words] = EVENTS[event.event_type] ?? [`event ${event.event_type}`, "Something new"];
  const cause = event.q850_cause ? ` · cause ${event.q850_cause}, ${causeInWords(event.q850_cause)?.toLowerCase()}` : "";
  return [words, `${name} · ${event.status}${cause}`];
}

/** 75 s are 1:15. @param {number} ms */
export function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const padded = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours > 0 ? `${hours}:${padded(minutes)}:${padded(seconds % 60)}` : `${minutes}:${padded(seconds % 60)}`;
}

/** What a mean opinion score is like to a listener. @param {number} mos @returns {["good" | "fair" | "poor", string]} */
export function grade(mos) {
  if (mos >= 4) return ["good", "Good quality"];
  if (mos >= 3.5) return ["fair", "Fair quality"];
  return ["poor", "Poor quality"];
}
