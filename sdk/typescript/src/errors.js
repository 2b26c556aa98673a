/**
 * What can go wrong with a session, and who is to blame: the gateway's own `error{code, message, fault}`, and the close
 * codes with which it refuses a page (the browser dialect, `clutchcall.v1`). Draws nothing, retries nothing.
 */

/**
 * Who is to blame.
 * @typedef {"caller" | "vendor" | "trunk" | "agent" | "config" | "us"} Fault
 */

/** An error that names its code, its cause and who is to blame. */
export class CallError extends Error {
  /**
   * @param {number | string} code the gateway's code or the WebSocket's close code
   * @param {string} message
   * @param {Fault} fault
   */
  constructor(code, message, fault) {
    super(message);
    this.name = "CallError";
    this.code = code;
    this.fault = fault;
  }
}

/**
 * What each close code means. A code that is not here is a lost socket, which a session outlives.
 * @type {Readonly<Record<number, readonly [message: string, fault: Fault]>>}
 */
const REFUSALS = Object.freeze({
  4400: ["the gateway could not read a message", "caller"],
  4401: ["the token is not valid", "caller"],
  4402: ["the token has expired", "caller"],
  4403: ["the token does not allow this", "caller"],
  4404: ["the tenant is unknown, or browsers are not configured for it", "config"],
  4406: ["the token was used before", "caller"],
  4407: ["the token belongs to another tenant", "caller"],
  4408: ["no token or no offer came in time", "caller"],
  4409: ["this session has a call already", "caller"],
  4429: ["too many calls or attempts", "caller"],
  1011: ["the gateway failed", "us"],
  1012: ["the gateway is shutting down", "us"],
  1013: ["the gateway is overloaded", "us"],
});

/**
 * The error of a socket that the gateway closed with this code; nothing, if the code is no refusal.
 * @param {number} code
 * @param {string} reason the close frame's own words, which are more exact than ours
 * @returns {CallError | undefined}
 */
export function refusal(code, reason) {
  const known = REFUSALS[code];
  if (!known) return undefined;
  const [message, fault] = known;
  return new CallError(code, reason ? `${message}: ${reason}` : message, fault);
}
