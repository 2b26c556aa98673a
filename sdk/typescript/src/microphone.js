/**
 * The microphone, and in words why there is none.
 */

import { CallError } from "./errors.js";

/**
 * Asks for the microphone; a stream that is passed in is used as it is.
 * @param {boolean | MediaTrackConstraints | MediaStream} audio
 * @returns {Promise<MediaStream>}
 */
export async function openMicrophone(audio) {
  if (typeof MediaStream !== "undefined" && audio instanceof MediaStream) return audio;
  if (!globalThis.navigator?.mediaDevices) {
    throw new CallError("insecure_page", "browsers give a microphone to pages on https and on localhost only", "config");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: /** @type {boolean | MediaTrackConstraints} */ (audio) });
  } catch (error) {
    throw microphoneError(error);
  }
}

/**
 * What the names of `getUserMedia`'s errors mean (W3C mediacapture-streams).
 * @type {Readonly<Record<string, readonly [code: string, message: string]>>}
 */
const REASONS = Object.freeze({
  NotAllowedError: ["microphone_denied", "the browser was not allowed to use the microphone"],
  NotFoundError: ["microphone_missing", "there is no microphone"],
  NotReadableError: ["microphone_busy", "the microphone is in use by another program, or broken"],
  OverconstrainedError: ["microphone_unfit", "no microphone can do what was asked of it"],
});

/** @param {unknown} error */
export function microphoneError(error) {
  const name = error instanceof Error ? error.name : "";
  const [code, message] = REASONS[name] ?? ["microphone_failed", `the microphone could not be opened: ${String(error)}`];
  return new CallError(code, message, "caller");
}
