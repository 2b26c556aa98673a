/**
 * A page's session with the gateway: signalling and audio path brought together, and the one call that they carry.
 */

import { Call } from "./call.js";
import { CallError } from "./errors.js";
import { MediaPath, lineDown } from "./media_path.js";
import { openMicrophone } from "./microphone.js";
import { Signalling, signallingAddress } from "./signalling.js";
import { summarise } from "./statistics.js";
import { typedEvents } from "./typed_events.js";

/** @typedef {import("./dialect.js").ServerMessage} ServerMessage */
/** @typedef {import("./dialect.js").SessionMessage} SessionMessage */
/** @typedef {import("./signalling.js").Closed} Closed */
/** @typedef {import("./signalling.js").LineState} LineState */
/** @typedef {import("./statistics.js").StatsSummary} StatsSummary */

/**
 * Where to, as whom, and with what sound. `audio` is what `getUserMedia` takes, or a stream of the page's own;
 * `rtcConfiguration` goes to the RTCPeerConnection beside the gateway's ICE servers.
 * @typedef {{
 *   url: string,
 *   tenantId: string,
 *   token: string,
 *   media?: "webrtc",
 *   audio?: boolean | MediaTrackConstraints | MediaStream,
 *   rtcConfiguration?: RTCConfiguration,
 * }} ConnectOptions
 */

/**
 * `line` is the signalling socket: a call goes on while it is "reconnecting". `media` is the audio path. `message` is
 * everything that the gateway says. `error` ends nothing; `closed` is the last.
 * @typedef {{
 *   incoming: Call,
 *   line: LineState,
 *   media: RTCPeerConnectionState,
 *   track: MediaStreamTrack,
 *   message: ServerMessage,
 *   error: CallError,
 *   closed: Closed,
 * }} SessionEvents
 */

/** Errors that answer something else than an offer, which may wait for its answer at the same time. */
const NOT_ABOUT_OFFERS = new Set(["no_call", "invalid_value", "call_exists"]);

/** The most messages that wait so. */
const EARLY_MAX = 64;

/** An open session: dial, or wait for `incoming`. One call; it ends with it. */
export class Session extends (/** @type {typeof typedEvents<SessionEvents>} */ (typedEvents)()) {
  #options;
  #signalling;
  /** @type {MediaStream | undefined} */
  #microphone;
  /** @type {MediaPath | undefined} */
  #path;
  /** @type {Call | undefined} */
  #call;
  /** What comes before anybody can listen, and CallEvents before their call is offered. @type {ServerMessage[]} */
  #early = [];
  /** Errors of that time. @type {CallError[]} */
  #earlyErrors = [];
  #listened = false;
  /** @type {Closed | undefined} */
  #end;
  /** @type {StatsSummary | undefined} */
  #lastStats;
  /** Settles `open`. @type {{ resolve(): void, reject(error: unknown): void } | undefined} */
  #opening;
  /** Takes the listeners on the browser's network away again. */
  #network = new AbortController();

  /** @param {ConnectOptions} options */
  constructor(options) {
    super();
    if (options.media !== undefined && options.media !== "webrtc") {
      throw new CallError("bad_media", `media is "webrtc", not ${String(options.media)}`, "caller");
    }
    this.#options = options;
    const to = { address: signallingAddress(options.url, options.tenantId), token: options.token };
    this.#signalling = new Signalling(to, {
      session: (message, resumed) => this.#begin(message, resumed),
      message: (message) => this.#receive(message),
      line: (state) => this.#lineIs(state),
      closed: (end) => this.#closed(end),
    });
  }

  /** The socket. */
  get line() {
    return this.#signalling.state;
  }

  /** How long the gateway still keeps the call while the line is "reconnecting". */
  get reconnectLeftMs() {
    return this.#signalling.leftMs;
  }

  /** The call, once there is one. */
  get call() {
    return this.#call;
  }

  /** The gateway's audio. */
  get remoteTrack() {
    return this.#path?.remoteTrack;
  }

  /** What is sent: the microphone, or the stream that was passed in. */
  get microphone() {
    return this.#microphone;
  }

  /** The connection itself, for what the SDK has no words for. */
  get peerConnection() {
    return this.#path?.connection;
  }

  /** The microphone, the session, the first offer and its answer. For `connect` only. */
  async open() {
    // A person may think long about the microphone, and the gateway waits 10 s for an offer: so it comes first.
    this.#microphone = await openMicrophone(this.#options.audio ?? true);
    if (this.#end) throw new CallError("closed", "the session was closed", "caller");
    /** @type {Promise<void>} */
    const opened = new Promise((resolve, reject) => {
      this.#opening = { resolve, reject };
    });
    this.#signalling.start();
    await opened;
    this.#opening = undefined;
    this.#watchNetwork();
    // Whoever waits for `connect` adds listeners first; somebody may call already.
    setTimeout(() => this.#catchUp());
  }

  /**
   * Calls somebody.
   * @param {string} to
   * @param {{ trunkId?: string, callFrom?: string, clientId?: string }} [options]
   */
  dial(to, { trunkId, callFrom, clientId } = {}) {
    if (this.#call) throw new CallError("call_exists", "the session has its call already", "caller");
    if (this.#end) throw new CallError("closed", "the session is closed; connect again with another token", "caller");
    const call = new Call(this.#callLine(), { direction: "outbound", from: callFrom ?? "", to });
    this.#call = call;
    this.#signalling.send({ type: "dial", to, trunk_id: trunkId, call_from: callFrom, client_id: clientId });
    return call;
  }

  /**
   * Makes a new offer, after a change of {@link Session.peerConnection} such as another direction.
   * @param {{ iceRestart?: boolean }} [options]
   */
  async renegotiate(options) {
    await this.#path?.negotiate(options);
  }

  /** How the audio goes, in a dozen figures; rates are since the last call of this. @returns {Promise<StatsSummary>} */
  async getStats() {
    if (!this.#path) throw new CallError("closed", "the session has no audio path", "caller");
    const report = await this.#path.getStats();
    this.#lastStats = summarise(/** @type {Iterable<any>} */ (report.values()), this.#lastStats);
    return this.#lastStats;
  }

  /** Ends the session, and its call. */
  close() {
    this.#signalling.close();
  }

  /** @param {SessionMessage} message @param {boolean} resumed */
  #begin(message, resumed) {
    this.#tell("message", message);
    if (resumed) {
      // ICE starts anew (the dialect's rule): the network may be another one. Without an answer media stays as it is.
      this.#path?.negotiate({ iceRestart: true }).catch((error) => this.#report(error));
      return;
    }
    const microphone = this.#microphone;
    if (!microphone) return;
    /** @type {RTCConfiguration} */
    const configuration = {
      iceServers: message.ice_servers,
      bundlePolicy: "max-bundle",
      ...this.#options.rtcConfiguration,
    };
    this.#path = new MediaPath(microphone, configuration, {
      offer: (sdp) => this.#signalling.send({ type: "offer", sdp }),
      track: (track) => {
        this.#tell("track", track);
        this.#call?.receiveTrack(track);
      },
      state: (state) => this.#tell("media", state),
      // One of several servers may fail, and the call be none the worse.
      iceServerFailed: (error) => this.#report(error),
    });
    this.#path.negotiate().then(
      () => this.#opening?.resolve(),
      (error) => this.#opening?.reject(this.#end?.error ?? error),
    );
  }

  #catchUp() {
    this.#listened = true;
    for (const error of this.#earlyErrors.splice(0)) this.#tell("error", error);
    for (const message of this.#early.splice(0)) this.#take(message);
  }

  /** @param {ServerMessage} message */
  #receive(message) {
    this.#tell("message", message);
    const waits = !this.#listened && message.type !== "answer" && message.type !== "error";
    if (!waits) this.#take(message);
    else if (this.#early.length < EARLY_MAX) this.#early.push(message);
  }

  /** @param {ServerMessage} message */
  #take(message) {
    switch (message.type) {
      case "answer":
        return this.#path?.answered(message.sdp);
      case "incoming": {
        const { call_sid: callSid, from, to } = message;
        this.#call = new Call(this.#callLine(), { direction: "inbound", from, to, callSid });
        for (const event of this.#early.splice(0)) this.#call.receive(event);
        return this.#tell("incoming", this.#call);
      }
      case "error": {
        const error = new CallError(message.code, message.message, message.fault);
        const aboutOffer = !NOT_ABOUT_OFFERS.has(message.code) && this.#path?.refused(error);
        if (!aboutOffer && !this.#opening) this.#tell("error", error);
        break;
      }
    }
    if (this.#call) this.#call.receive(message);
    else if (message.type === "event" && this.#early.length < EARLY_MAX) this.#early.push(message);
  }

  /** @param {LineState} state */
  #lineIs(state) {
    if (state === "reconnecting") this.#path?.refused(lineDown());
    this.#tell("line", state);
  }

  /** @param {Closed} end */
  #closed(end) {
    this.#catchUp();
    this.#end = end;
    this.#network.abort();
    this.#path?.close();
    // A stream that the page brought is the page's to stop.
    if (this.#microphone !== this.#options.audio) for (const track of this.#microphone?.getTracks() ?? []) track.stop();
    this.#opening?.reject(end.error ?? new CallError("closed", end.reason || "the session was closed", "caller"));
    this.#call?.finish({ reason: end.reason || "the session ended", error: end.error });
    this.#tell("closed", end);
  }

  /** @param {unknown} error */
  #report(error) {
    if (error instanceof CallError && error.code === "connection_lost") return;
    const told = error instanceof CallError ? error : new CallError("media", String(error), "us");
    if (this.#listened) this.#tell("error", told);
    else if (this.#earlyErrors.length < EARLY_MAX) this.#earlyErrors.push(told);
  }

  /** @returns {import("./call.js").CallLine} */
  #callLine() {
    return {
      send: (message) => this.#signalling.send(message),
      mute: (on) => this.#path?.mute(on),
      insertDigits: (digits, durationMs) => this.#path?.sendDigits(digits, durationMs) ?? false,
      remoteTrack: () => this.#path?.remoteTrack,
      getStats: () => this.getStats(),
    };
  }

  /** Another network: the socket is looked after at once, and ICE starts anew on a socket that lives. */
  #watchNetwork() {
    const { signal } = this.#network;
    /** @type {(EventTarget & { type?: string }) | undefined} */
    const connection = /** @type {any} */ (navigator).connection;
    let kind = connection?.type;
    const changed = () => {
      const connected = this.#signalling.state === "connected";
      this.#signalling.probe();
      if (connected) this.#path?.negotiate({ iceRestart: true }).catch((error) => this.#report(error));
    };
    globalThis.addEventListener("online", changed, { signal });
    connection?.addEventListener(
      "change",
      () => {
        // It also fires when an estimate moved.
        if (connection.type === kind) return;
        kind = connection.type;
        changed();
      },
      { signal },
    );
  }

  /**
   * @template {keyof SessionEvents} Name
   * @param {Name} name
   * @param {SessionEvents[Name]} detail
   */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
