// Evaluated in the gateway's own page by softphone_page.rs, before anybody clicks: what the page hears, what its connection
// reports, and for tests of the gateway a phone on the SDK that needs no buttons.

/** Every connection that the page makes; the last is the one that counts. */
const connections = [];
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  /** Port of loopback to which all candidates of the gateway are turned. */
  static relayPort;
  static answeredAt = 0;

  constructor(configuration) {
    super(configuration);
    connections.push(this);
    this.addEventListener("track", ({ track }) => hear(track));
  }

  setRemoteDescription(description) {
    const { relayPort } = RTCPeerConnection;
    RTCPeerConnection.answeredAt = performance.now();
    const sdp = relayPort
      ? description.sdp.replace(/^(a=candidate:\S+ \d+ udp \d+) \S+ \d+ /gim, `$1 127.0.0.1 ${relayPort} `)
      : description.sdp;
    return super.setRemoteDescription({ ...description, sdp });
  }
};

/** A session and its call, as the tests speak of them. */
class Phone {
  messages = [];
  digits = [];
  call;

  constructor(session) {
    this.session = session;
    this.connection = session.peerConnection;
    session.addEventListener("message", ({ detail }) => this.messages.push(detail));
    session.addEventListener("error", ({ detail: { code: type, message } }) => this.messages.push({ type, message }));
    session.addEventListener("closed", ({ detail }) => {
      this.closeCode = detail.code;
      this.closeReason = detail.reason;
    });
  }

  get state() {
    const states = { dialling: "calling", ringing: "calling", active: "in call", held: "on hold", ended: "ended" };
    if (this.call) return states[this.call.state];
    return this.session.line === "closed" ? "ended" : "ready";
  }

  get events() {
    return this.call.events;
  }

  dial({ to = "echo", trunkId, clientId }) {
    this.call = this.session.dial(to, { trunkId, clientId });
    this.call.addEventListener("digit", ({ detail }) => this.digits.push(detail.digit));
  }

  hold(on) {
    this.call.hold(on);
  }

  /** Hold by renegotiation (RFC 3264): the direction of the audio section changes. */
  holdByOffer(on) {
    for (const transceiver of this.connection.getTransceivers()) transceiver.direction = on ? "inactive" : "sendrecv";
    return this.session.renegotiate();
  }

  mute(on) {
    this.call.mute(on);
  }

  press(digits, durationMs) {
    this.call.sendDigits(digits, { durationMs });
  }

  dtmf(digits, durationMs) {
    this.call.sendDigits(digits, { durationMs, via: "gateway" });
  }

  hangUp() {
    this.call.hangUp();
  }
}

/** Opens the session; resolves with the time in ms from the answer until ICE and DTLS are done. */
globalThis.connectPhone = async ({ tenantId, token, relayPort, iceTransportPolicy = "all" }) => {
  const { connect } = await import("/sdk/index.js");
  RTCPeerConnection.relayPort = relayPort;
  // Echo cancellation would take away exactly what an echo trunk sends back.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const url = location.origin.replace(/^http/, "ws");
  const rtcConfiguration = { iceTransportPolicy };
  const session = await connect({ url, tenantId, token, media: "webrtc", audio, rtcConfiguration });
  globalThis.phone = new Phone(session);
  return new Promise((resolve, reject) => {
    const look = () => {
      const { connectionState } = phone.connection;
      if (connectionState === "connected") resolve(performance.now() - RTCPeerConnection.answeredAt);
      if (connectionState === "failed") reject(new Error("the connection failed"));
    };
    phone.connection.addEventListener("connectionstatechange", look);
    look();
  });
};

const heard = { sink: new Audio(), turn: 0, recording: false, sampleRateHz: 48000, frames: [] };

async function hear(track) {
  // A busy machine must not sound like a bad network: the jitter buffer is deep enough for late wake-ups of the browser.
  for (const receiver of connections.at(-1).getReceivers()) receiver.jitterBufferTarget = 200;
  // Without a sink Chromium pulls no sound out of the stream.
  heard.sink.srcObject = new MediaStream([track]);
  heard.sink.play().catch(() => {}); // A renegotiation interrupts it; the next track plays again.
  const reader = new MediaStreamTrackProcessor({ track, maxBufferSize: 1000 }).readable.getReader();
  const turn = ++heard.turn;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    if (heard.recording && turn === heard.turn) {
      const samples = new Float32Array(value.numberOfFrames);
      value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
      heard.sampleRateHz = value.sampleRate;
      heard.frames.push(Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32768)))));
    }
    value.close();
  }
}

/**
 * What the page hears from now on, until so many seconds of sound have come; resolves with their sampling rate. The first
 * second and a half, in which the jitter buffer stretches time until it is filled, is left out.
 */
globalThis.record = (seconds, withinMs) =>
  new Promise((resolve, reject) => {
    Object.assign(heard, { recording: true, frames: [] });
    const end = performance.now() + withinMs;
    const look = async () => {
      let fill = 1.5 * heard.sampleRateHz;
      const samples = heard.frames.reduce((sum, frame) => sum + frame.length, 0);
      const timeout = performance.now() > end;
      if (samples < fill + seconds * heard.sampleRateHz && !timeout) return setTimeout(look, 50);
      heard.recording = false;
      while (heard.frames.length && fill > 0) fill -= heard.frames.shift().length;
      if (timeout) reject(new Error(`only ${samples} samples were heard: ${JSON.stringify(await transportStats())}`));
      else resolve(heard.sampleRateHz);
    };
    look();
  });

/** The next 100 frames of the recording as base64 of 16-bit little-endian samples; empty: there are no more. */
globalThis.takeRecorded = () => {
  let binary = "";
  for (const frame of heard.frames.splice(0, 100)) binary += String.fromCharCode(...new Uint8Array(frame.buffer));
  return btoa(binary);
};

/** What getStats says about the transport and both streams. */
globalThis.transportStats = async () => {
  const stats = await connections.at(-1).getStats();
  const of = (type) => [...stats.values()].find((each) => each.type === type) ?? {};
  const transport = of("transport");
  const codec = (type) => stats.get(of(type).codecId)?.mimeType;
  const pair = stats.get(transport.selectedCandidatePairId);
  return {
    tlsVersion: transport.tlsVersion,
    srtpCipher: transport.srtpCipher,
    outboundCodec: codec("outbound-rtp"),
    inboundCodec: codec("inbound-rtp"),
    packetsSent: of("outbound-rtp").packetsSent,
    packetsReceived: of("inbound-rtp").packetsReceived,
    packetsLost: of("inbound-rtp").packetsLost,
    totalSamplesReceived: of("inbound-rtp").totalSamplesReceived,
    concealedSamples: of("inbound-rtp").concealedSamples,
    insertedSamplesForDeceleration: of("inbound-rtp").insertedSamplesForDeceleration,
    removedSamplesForAcceleration: of("inbound-rtp").removedSamplesForAcceleration,
    availableOutgoingBitrate: pair?.availableOutgoingBitrate,
    localCandidateType: stats.get(pair?.localCandidateId)?.candidateType,
  };
};
