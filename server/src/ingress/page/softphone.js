/**
 * One call from a page, over the gateway's browser dialect (`clutchcall.v1`): signalling on a WebSocket, audio on an
 * RTCPeerConnection. It draws nothing; page.js does.
 *
 * Events: "state" (detail: "connecting" | "ready" | "calling" | "in call" | "on hold" | "ended"),
 * "message" (detail: every message of the gateway; "closed", when the socket is; "ice_server", what a STUN or TURN
 * server refused), "track" (detail: the far end's MediaStream).
 */
export class Softphone extends EventTarget {
  /**
   * @param {{url: string, tenantId: string, token: string, audio?: MediaTrackConstraints | boolean,
   *   iceTransportPolicy?: RTCIceTransportPolicy}} options
   */
  constructor({ url, tenantId, token, audio = true, iceTransportPolicy = "all" }) {
    super();
    this.address = `${url.replace(/\/$/, "")}/signal/browser/${encodeURIComponent(tenantId)}`;
    this.token = token;
    this.audio = audio;
    this.iceTransportPolicy = iceTransportPolicy;
    this.state = "new";
    /** Every CallEvent of the call, in order. */
    this.events = [];
    /** Digits that the far end pressed. */
    this.digits = [];
  }

  /** Opens the session and the audio path; resolves when the gateway has answered the offer. */
  async connect() {
    this.#enter("connecting");
    this.microphone = await navigator.mediaDevices.getUserMedia({ audio: this.audio });
    const session = this.#nextMessage("session");
    // A page can't set headers on a WebSocket, so the token travels as the second offered protocol.
    this.socket = new WebSocket(this.address, ["clutchcall.v1", `bearer.${this.token}`]);
    this.socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    this.socket.onclose = (event) => this.#closed(event);
    const { ice_servers: iceServers } = await session;

    const connection = new RTCPeerConnection({
      iceServers: iceServers ?? [],
      iceTransportPolicy: this.iceTransportPolicy,
      bundlePolicy: "max-bundle",
    });
    this.connection = connection;
    connection.ontrack = ({ track, streams }) => this.#emit("track", streams[0] ?? new MediaStream([track]));
    connection.onicecandidateerror = ({ url, errorCode, errorText }) =>
      this.#emit("message", { type: "ice_server", message: `${url}: ${errorCode} ${errorText}` });
    connection.onicecandidate = ({ candidate }) => this.#send({ type: "candidate", candidate });
    for (const track of this.microphone.getAudioTracks()) connection.addTrack(track, this.microphone);
    await this.#negotiate();
    this.#enter("ready");
  }

  /** @param {{to?: string, trunkId?: string, callFrom?: string, clientId?: string}} whom */
  dial({ to = "echo", trunkId, callFrom, clientId } = {}) {
    this.#enter("calling");
    this.#send({ type: "dial", to, trunk_id: trunkId, call_from: callFrom, client_id: clientId });
  }

  /** @param {boolean} on */
  hold(on) {
    this.#send({ type: on ? "hold" : "unhold" });
  }

  /** Hold by renegotiation (RFC 3264): the direction of the audio section changes. @param {boolean} on */
  async holdByOffer(on) {
    for (const transceiver of this.connection.getTransceivers()) transceiver.direction = on ? "inactive" : "sendrecv";
    await this.#negotiate();
  }

  /** @param {boolean} on */
  mute(on) {
    for (const track of this.microphone?.getAudioTracks() ?? []) track.enabled = !on;
  }

  /** Digits as RFC 4733 events in the audio stream. @param {string} digits */
  press(digits, durationMs = 120) {
    const sender = this.connection.getSenders().find((each) => each.dtmf);
    if (!sender) throw new Error("the call takes no digits");
    sender.dtmf.insertDTMF(digits, durationMs, 70);
  }

  /** Digits that the gateway plays for us. @param {string} digits */
  dtmf(digits, durationMs = 120) {
    this.#send({ type: "dtmf", digits, duration_ms: durationMs });
  }

  hangUp() {
    this.#send({ type: "hangup" });
  }

  close() {
    this.connection?.close();
    this.socket?.close(1000);
    for (const track of this.microphone?.getTracks() ?? []) track.stop();
  }

  async #negotiate() {
    const offer = await this.connection.createOffer();
    await this.connection.setLocalDescription(offer);
    const answer = this.#nextMessage("answer");
    this.#send({ type: "offer", sdp: this.connection.localDescription.sdp });
    await this.connection.setRemoteDescription({ type: "answer", sdp: (await answer).sdp });
  }

  #receive(message) {
    this.#emit("message", message);
    switch (message.type) {
      case "event":
        this.events.push(message.event ?? message);
        this.#follow(message.event ?? message);
        break;
      case "dtmf":
        this.digits.push(message.digit);
        break;
      case "bye":
        this.#enter("ended");
        break;
    }
  }

  /** CHANNEL_ANSWER 2, CHANNEL_HANGUP_COMPLETE 3, CHANNEL_HOLD 4, CHANNEL_RESUME 5. */
  #follow({ event_type: type }) {
    const states = { 2: "in call", 3: "ended", 4: "on hold", 5: "in call" };
    if (states[type]) this.#enter(states[type]);
  }

  #closed({ code, reason }) {
    this.closeCode = code;
    this.closeReason = reason;
    this.#emit("message", { type: "closed", code, reason });
    this.#enter("ended");
    this.close();
  }

  #nextMessage(type) {
    return new Promise((resolve, reject) => {
      const listener = ({ detail }) => {
        if (detail.type === type) resolve(detail);
        else if (detail.type === "error") reject(new Error(detail.message));
        else if (detail.type === "closed") reject(new Error(`closed ${detail.code}: ${detail.reason}`));
        else return;
        this.removeEventListener("message", listener);
      };
      this.addEventListener("message", listener);
    });
  }

  #send(message) {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  #enter(state) {
    if (this.state === "ended" || this.state === state) return;
    this.state = state;
    this.#emit("state", state);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
