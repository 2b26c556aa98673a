/**
 * The audio of one session: an RTCPeerConnection that offers, and is offered anew (RFC 8829) when the network changes.
 * Signalling is somebody else's: offers go out through the listener, answers come in by {@link MediaPath.answered}.
 *
 * Candidates are not sent: the gateway is ICE-lite (RFC 8445 section 2.5) and learns a page's addresses from its checks.
 */

import { CallError } from "./errors.js";

/** How long the gateway may take to answer an offer. */
const ANSWER_WITHIN_MS = 10_000;
/** A path may be silent for so long before ICE starts anew; Wi-Fi loses a second now and then. */
const DISCONNECTED_MS = 2_000;
/** Between two restarts, as long as no path comes up. */
const RESTART_EVERY_MS = 5_000;
/** Between two digits (W3C insertDTMF's default). */
const DIGIT_GAP_MS = 70;

/**
 * @typedef {{
 *   offer(sdp: string): boolean,
 *   track(track: MediaStreamTrack): void,
 *   state(state: RTCPeerConnectionState): void,
 *   iceServerFailed(error: CallError): void,
 * }} PathListener
 */

/** The connection that carries the audio. */
export class MediaPath {
  #listener;
  /** The connection itself, for those who need more of it. */
  connection;
  microphone;
  /** @type {MediaStreamTrack | undefined} */
  remoteTrack;
  /** The negotiation that runs, or the last. @type {Promise<unknown>} */
  #last = Promise.resolve();
  /** @type {{ resolve(sdp: string): void, reject(error: CallError): void } | undefined} */
  #pending;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #restartTimer;

  /**
   * @param {MediaStream} microphone
   * @param {RTCConfiguration} configuration
   * @param {PathListener} listener
   */
  constructor(microphone, configuration, listener) {
    this.#listener = listener;
    this.microphone = microphone;
    this.connection = new RTCPeerConnection(configuration);
    for (const track of microphone.getAudioTracks()) this.connection.addTrack(track, microphone);
    this.connection.addEventListener("track", ({ track }) => {
      this.remoteTrack = track;
      listener.track(track);
    });
    this.connection.addEventListener("icecandidateerror", ({ url, errorCode, errorText }) => {
      const message = `the STUN or TURN server ${url} answered ${errorCode} ${errorText}`;
      listener.iceServerFailed(new CallError("ice_server", message, "config"));
    });
    this.connection.addEventListener("connectionstatechange", () => listener.state(this.connection.connectionState));
    this.connection.addEventListener("iceconnectionstatechange", () => this.#watch());
  }

  /**
   * Makes an offer and takes its answer; one after the other.
   * @param {{ iceRestart?: boolean }} [options]
   */
  negotiate(options = {}) {
    const run = this.#last.then(() => this.#exchange(options));
    this.#last = run.catch(() => {});
    return run;
  }

  /** The answer to the offer that waits. @param {string} sdp */
  answered(sdp) {
    this.#pending?.resolve(sdp);
  }

  /** The offer was refused, or its answer can't come any more. @param {CallError} error @returns whether one waited */
  refused(error) {
    const waited = this.#pending !== undefined;
    this.#pending?.reject(error);
    return waited;
  }

  /** @param {boolean} on */
  mute(on) {
    for (const track of this.microphone.getAudioTracks()) track.enabled = !on;
  }

  /**
   * Sends digits as RFC 4733 events; false, if the connection has none.
   * @param {string} digits
   * @param {number} durationMs
   */
  sendDigits(digits, durationMs) {
    const dtmf = this.connection.getSenders().find((each) => each.dtmf?.canInsertDTMF)?.dtmf;
    // What still waits to be sent goes first; insertDTMF would replace it.
    dtmf?.insertDTMF(dtmf.toneBuffer + digits, durationMs, DIGIT_GAP_MS);
    return Boolean(dtmf);
  }

  /** @returns {Promise<RTCStatsReport>} */
  getStats() {
    return this.connection.getStats();
  }

  close() {
    clearTimeout(this.#restartTimer);
    this.refused(new CallError("closed", "the session is closed", "caller"));
    this.connection.close();
  }

  /** @param {{ iceRestart?: boolean }} options */
  async #exchange({ iceRestart = false }) {
    if (this.connection.signalingState === "closed") return;
    const offer = await this.connection.createOffer({ iceRestart });
    await this.connection.setLocalDescription(offer);
    try {
      const sdp = await this.#answerTo(this.connection.localDescription?.sdp ?? "");
      await this.connection.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      if (this.connection.signalingState === "have-local-offer") {
        await this.connection.setLocalDescription({ type: "rollback" });
      }
      throw error;
    }
  }

  /** @param {string} sdp @returns {Promise<string>} */
  async #answerTo(sdp) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    try {
      return await new Promise((resolve, reject) => {
        this.#pending = { resolve, reject };
        const late = new CallError("timeout", "the gateway did not answer the offer in time", "us");
        timer = setTimeout(() => reject(late), ANSWER_WITHIN_MS);
        if (!this.#listener.offer(sdp)) reject(lineDown());
      });
    } finally {
      clearTimeout(timer);
      this.#pending = undefined;
    }
  }

  /** Starts ICE anew when the path is gone, again and again until there is one. */
  #watch() {
    clearTimeout(this.#restartTimer);
    const state = this.connection.iceConnectionState;
    if (state === "disconnected") this.#restartTimer = setTimeout(() => this.#restart(), DISCONNECTED_MS);
    else if (state === "failed") this.#restart();
  }

  #restart() {
    // While there is no socket, the next one brings an offer anyhow; what fails now is tried again.
    this.negotiate({ iceRestart: true }).catch(() => {});
    this.#restartTimer = setTimeout(() => this.#watch(), RESTART_EVERY_MS);
  }
}

/** Why an offer can't be answered while there is no socket. */
export function lineDown() {
  return new CallError("connection_lost", "there is no connection to the gateway now", "caller");
}
