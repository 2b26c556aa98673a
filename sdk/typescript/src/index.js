/**
 * Calls from a web page through the ClutchCall gateway.
 *
 *     const session = await connect({ url: "wss://gw.example.com:7443", tenantId: "acme", token, media: "webrtc" });
 *     const call = session.dial("+15550100");
 *     call.addEventListener("track", ({ detail: track }) => { audio.srcObject = new MediaStream([track]); });
 */

import { Session } from "./session.js";

export { Call } from "./call.js";
export { EventType } from "./dialect.js";
export { CallError } from "./errors.js";
export { Session } from "./session.js";

/** @typedef {import("./call.js").CallEnd} CallEnd */
/** @typedef {import("./call.js").CallState} CallState */
/** @typedef {import("./dialect.js").CallEvent} CallEvent */
/** @typedef {import("./dialect.js").StatsMessage} StatsMessage */
/** @typedef {import("./errors.js").Fault} Fault */
/** @typedef {import("./session.js").ConnectOptions} ConnectOptions */
/** @typedef {import("./signalling.js").Closed} Closed */
/** @typedef {import("./signalling.js").LineState} LineState */
/** @typedef {import("./statistics.js").StatsSummary} StatsSummary */

/**
 * Opens a session and its audio path; a token is good for one.
 * @param {ConnectOptions} options
 * @returns {Promise<Session>}
 * @throws {import("./errors.js").CallError} naming what was wrong and whose fault it was
 */
export async function connect(options) {
  const session = new Session(options);
  try {
    await session.open();
  } catch (error) {
    session.close();
    throw error;
  }
  return session;
}
