/**
 * The messages of the browser dialect (`clutchcall.v1`), both ways, as they stand in JSON. Reads and checks; decides nothing.
 */

import { CallError } from "./errors.js";

/** @typedef {import("./errors.js").Fault} Fault */

/** The WebSocket subprotocol that the gateway selects. */
export const SUBPROTOCOL = "clutchcall.v1";

/** What `CallEvent.event_type` says. */
export const EventType = Object.freeze({
  CHANNEL_CREATE: 1,
  CHANNEL_ANSWER: 2,
  CHANNEL_HANGUP_COMPLETE: 3,
  CHANNEL_HOLD: 4,
  CHANNEL_RESUME: 5,
});

/**
 * One step in the life of a call, the same for every vendor.
 * @typedef {{
 *   call_sid: string, event_type: number, status: string, start_timestamp_ms: number, answer_timestamp_ms: number,
 *   end_timestamp_ms: number, timestamp_ms: number, duration_seconds: number, q850_cause: number, recording_url: string,
 *   packets_sent: number, packets_received: number, packets_lost: number, bytes_sent: number, jitter_ms: number,
 *   estimated_mos: number, codec: string, trunk_id: string, tenant_id: string, client_id: string,
 * }} CallEvent
 */

/**
 * One leg, seen from the gateway.
 * @typedef {{
 *   packets_sent: number, packets_received: number, packets_lost: number, jitter_ms: number, rtt_ms?: number, mos: number,
 *   available_bitrate_bps?: number,
 * }} LegStats
 */

/** @typedef {{ type: "session", session_id: string, resume_token?: string, resume_within_ms?: number, ice_servers: RTCIceServer[] }} SessionMessage */
/** @typedef {{ type: "stats", call_sid: string, caller: LegStats, far_end: LegStats }} StatsMessage */

/**
 * What the gateway says.
 * @typedef {SessionMessage
 *   | { type: "answer", sdp: string }
 *   | { type: "incoming", call_sid: string, from: string, to: string }
 *   | { type: "ringing", call_sid: string }
 *   | { type: "event" } & CallEvent
 *   | { type: "dtmf", digit: string, duration_ms: number }
 *   | StatsMessage
 *   | { type: "error", code: string, message: string, fault: Fault }
 *   | { type: "bye", q850_cause: number, reason: string }
 *   | { type: "pong", id: number | string }
 * } ServerMessage
 */

/**
 * What a page says.
 * @typedef {{ type: "offer", sdp: string }
 *   | { type: "dial", to: string, trunk_id?: string, call_from?: string, client_id?: string }
 *   | { type: "accept", call_sid: string }
 *   | { type: "reject", call_sid: string, q850_cause?: number }
 *   | { type: "hold" } | { type: "unhold" } | { type: "hangup" }
 *   | { type: "dtmf", digits: string, duration_ms?: number }
 *   | { type: "ping", id: number }
 * } ClientMessage
 */

/**
 * The fields without which a message says nothing.
 * @type {Readonly<Record<string, Readonly<Record<string, "string" | "number" | "object">>>>}
 */
const NEEDED = Object.freeze({
  session: { session_id: "string", ice_servers: "object" },
  answer: { sdp: "string" },
  incoming: { call_sid: "string", from: "string", to: "string" },
  ringing: { call_sid: "string" },
  event: { call_sid: "string", event_type: "number" },
  dtmf: { digit: "string", duration_ms: "number" },
  stats: { call_sid: "string", caller: "object", far_end: "object" },
  error: { code: "string", message: "string", fault: "string" },
  bye: { q850_cause: "number", reason: "string" },
  pong: {},
});

/**
 * Reads one text frame of the gateway; nothing, if it is of a type that this SDK does not know yet.
 * @param {unknown} text
 * @returns {ServerMessage | undefined}
 * @throws {CallError} if it is no message of the dialect: the gateway's fault
 */
export function parse(text) {
  const message = readObject(text);
  const needed = typeof message.type === "string" ? NEEDED[message.type] : undefined;
  if (!needed) return undefined;
  for (const [name, type] of Object.entries(needed)) {
    if (typeof message[name] !== type || message[name] === null) {
      throw new CallError("malformed", `the gateway's ${message.type} has no ${name}`, "us");
    }
  }
  return /** @type {ServerMessage} */ (message);
}

/**
 * @param {unknown} text
 * @returns {Record<string, unknown>}
 */
function readObject(text) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(String(text));
  } catch {
    // Told below, like every other text that is no object.
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CallError("malformed", "the gateway sent what is no message", "us");
  }
  return /** @type {Record<string, unknown>} */ (value);
}
