// Evaluated in the gateway's own page by softphone_page.rs: one Softphone, what it hears, and what its connection reports.

/** Opens the session; resolves with the time in ms from the answer until ICE and DTLS are done. */
globalThis.connectPhone = async ({ tenantId, token, relayPort, iceTransportPolicy }) => {
  const { Softphone } = await import("/softphone.js");
  const setRemoteDescription = RTCPeerConnection.prototype.setRemoteDescription;
  let answeredAt = 0;
  RTCPeerConnection.prototype.setRemoteDescription = function (description) {
    answeredAt = performance.now();
    // All candidates of the gateway become the relay's port.
    const sdp = relayPort
      ? description.sdp.replace(/^(a=candidate:\S+ \d+ udp \d+) \S+ \d+ /gim, `$1 127.0.0.1 ${relayPort} `)
      : description.sdp;
    return setRemoteDescription.call(this, { ...description, sdp });
  };
  // Echo cancellation would take away exactly what an echo trunk sends back.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const phone = new Softphone({ url: location.origin.replace(/^http/, "ws"), tenantId, token, audio, iceTransportPolicy });
  globalThis.phone = phone;
  phone.messages = [];
  phone.addEventListener("message", ({ detail }) => phone.messages.push(detail));
  phone.addEventListener("track", ({ detail }) => hear(detail));
  await phone.connect();
  return new Promise((resolve, reject) => {
    const look = () => {
      const { connectionState } = phone.connection;
      if (connectionState === "connected") resolve(performance.now() - answeredAt);
      if (connectionState === "failed") reject(new Error("the connection failed"));
    };
    phone.connection.addEventListener("connectionstatechange", look);
    look();
  });
};

const heard = { sink: new Audio(), turn: 0, recording: false, sampleRateHz: 48000, frames: [] };

async function hear(stream) {
  // A busy machine must not sound like a bad network: the jitter buffer is deep enough for late wake-ups of the browser.
  for (const receiver of phone.connection.getReceivers()) receiver.jitterBufferTarget = 200;
  // Without a sink Chromium pulls no sound out of the stream.
  heard.sink.srcObject = stream;
  heard.sink.play().catch(() => {}); // A renegotiation interrupts it; the next track plays again.
  const [track] = stream.getAudioTracks();
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
  const stats = await phone.connection.getStats();
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
