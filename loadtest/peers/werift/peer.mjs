// werift as a caller of the gateway: one call over the browser dialect. It does what stdin says, a command a line, and tells on
// stdout what happens, a JSON object a line; RTP too. The test makes and reads the sound; nothing is decided here.
//
//   speak       say the packets of --packets once, then "spoken"
//   press 12#   digits in the audio stream (RFC 4733), then "pressed"
//   restart     an ICE restart, then "restarted"
//   hangup
//
// --packets: payloads of 20 ms, each behind its length in two bytes; the first is silence.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

// The packages are installed by a copy of package.json somewhere else: a script's own folder is where node looks otherwise.
const { values: options } = parseArgs({
  options: Object.fromEntries(
    ["modules", "url", "tenant", "token", "trunk", "codec", "ca", "packets"].map((name) => [name, { type: "string" }]),
  ),
});
const require = createRequire(`${options.modules}/`);
const { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket, useOPUS, usePCMU } = require("werift");
const { WebSocket } = require("ws");

const FRAME_MS = 20;
const DIGITS = "0123456789*#ABCD";
const DIGIT_MS = 120;
const PAUSE_MS = 80;
/** CHANNEL_ANSWER. */
const ANSWER = 2;

const tell = (kind, fields = {}) => process.stdout.write(`${JSON.stringify({ kind, ...fields })}\n`);

const audio = options.codec === "opus" ? useOPUS({ payloadType: 111 }) : usePCMU();
const digit = new RTCRtpCodecParameters({
  mimeType: "audio/telephone-event",
  clockRate: audio.clockRate,
  payloadType: 101,
  parameters: "0-15",
});

/** An RTP stream that never stops: silence, speech, or a digit in its place. */
class Speaker {
  constructor(sender) {
    this.sender = sender;
    this.payloads = [];
    const bytes = readFileSync(options.packets);
    for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) {
      this.payloads.push(bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)));
    }
    this.speech = [];
    /** Packets of digits; a pause is null. */
    this.pressed = [];
    this.samples = (audio.clockRate * FRAME_MS) / 1000;
    this.sequenceNumber = 1000;
    this.timestamp = 4_000_000_000;
    this.begin = performance.now();
    this.count = 0;
    this.#next();
  }

  speak() {
    this.speech = this.payloads.slice(1);
    return new Promise((resolve) => (this.spoken = resolve));
  }

  press(digits) {
    for (const each of digits) {
      const packets = DIGIT_MS / FRAME_MS;
      for (let number = 1; number <= packets + 2; number++) {
        const end = number >= packets;
        const duration = Math.min(number, packets) * this.samples;
        const payload = Buffer.from([DIGITS.indexOf(each), (end ? 0x80 : 0) | 10, duration >> 8, duration & 0xff]);
        this.pressed.push({ payload, marker: number === 1, first: number === 1, last: number === packets + 2 });
      }
      for (let ms = 0; ms < PAUSE_MS; ms += FRAME_MS) this.pressed.push(null);
    }
    return new Promise((resolve) => (this.released = resolve));
  }

  /** One packet each 20 ms by the clock; late ones are made up for. */
  #next() {
    while (performance.now() >= this.begin + this.count * FRAME_MS) this.#send();
    setTimeout(() => this.#next(), 5);
  }

  #send() {
    this.count += 1;
    this.timestamp = (this.timestamp + this.samples) >>> 0;
    const event = this.pressed.shift();
    if (event === undefined || event === null) {
      this.#write(audio, { payload: this.speech.shift() ?? this.payloads[0], timestamp: this.timestamp });
      if (this.speech.length === 0) this.spoken?.();
      if (event === null && this.pressed.length === 0) this.released?.();
      return;
    }
    // All packets of an event carry the time of its begin (RFC 4733 section 2.2.4).
    if (event.first) this.eventTimestamp = this.timestamp;
    this.#write(digit, { ...event, timestamp: this.eventTimestamp });
  }

  #write(codec, { payload, timestamp, marker = false }) {
    this.sequenceNumber = (this.sequenceNumber + 1) & 0xffff;
    const header = new RtpHeader({ sequenceNumber: this.sequenceNumber, timestamp, marker });
    // werift's sender knows one codec and puts its payload type into every packet, before it waits for anything.
    const { codec: negotiated } = this.sender;
    if (negotiated === undefined) return;
    this.sender.codec = this.sender.parametersOf(codec) ?? negotiated;
    const sent = this.sender.sendRtp(new RtpPacket(header, payload));
    this.sender.codec = negotiated;
    // Between two paths there is none.
    sent.catch((error) => tell("unsent", { error: String(error) }));
  }
}

const connection = new RTCPeerConnection({
  codecs: { audio: [audio, digit] },
  // Loopback only. Without a STUN server of its own werift asks a public one; this name exists nowhere (RFC 6761).
  iceServers: [{ urls: "stun:stun.invalid:3478" }],
  iceUseIpv4: false,
  iceUseIpv6: false,
  iceAdditionalHostAddresses: ["127.0.0.1"],
});
connection.iceConnectionStateChange.subscribe((state) => tell("ice", { state }));
connection.connectionStateChange.subscribe((state) => tell("connection", { state }));
const heard = new Set();
connection.onTrack.subscribe((track) => {
  // Each negotiation tells the same track again.
  if (heard.has(track)) return;
  heard.add(track);
  track.onReceiveRtp.subscribe(({ header, payload }) =>
    tell("rtp", {
      ssrc: header.ssrc,
      sequence_number: header.sequenceNumber,
      timestamp: header.timestamp,
      payload_type: header.payloadType,
      marker: header.marker,
      payload: payload.toString("base64"),
    }),
  );
});

const socket = new WebSocket(
  `${options.url}/signal/browser/${options.tenant}`,
  ["clutchcall.v1", `bearer.${options.token}`],
  { ca: readFileSync(options.ca) },
);
const send = (message) => socket.send(JSON.stringify(message));
const waiting = [];
const message = (wanted) => new Promise((resolve) => waiting.push({ wanted, resolve }));
socket.on("error", (error) => fail(error));
socket.on("message", (text) => {
  const received = JSON.parse(text);
  tell("message", { message: received });
  for (const each of waiting.splice(0)) {
    if (each.wanted(received)) each.resolve(received);
    else waiting.push(each);
  }
});
socket.on("close", async (code) => {
  await connection.close();
  tell("closed", { code });
  process.exit(0);
});

function fail(error) {
  tell("failed", { error: String(error?.stack ?? error) });
  process.exit(1);
}
process.on("uncaughtException", fail);
process.on("unhandledRejection", fail);

async function negotiate(restart) {
  await connection.setLocalDescription(await connection.createOffer({ iceRestart: restart }));
  const answer = message(({ type }) => type === "answer");
  send({ type: "offer", sdp: connection.localDescription.sdp });
  await connection.setRemoteDescription({ type: "answer", sdp: (await answer).sdp });
}

function connected() {
  const isThere = () => ["connected", "completed"].includes(connection.iceConnectionState);
  return new Promise((resolve) => {
    const look = () => (isThere() ? resolve() : setTimeout(look, 10));
    look();
  });
}

const { version } = JSON.parse(readFileSync(`${options.modules}/node_modules/werift/package.json`, "utf8"));
tell("version", { werift: version, node: process.version });
await message(({ type }) => type === "session");
const transceiver = connection.addTransceiver(new MediaStreamTrack({ kind: "audio" }), { direction: "sendrecv" });
await negotiate(false);
await connected();
const answered = message(({ type, event_type: event }) => type === "event" && event === ANSWER);
send({ type: "dial", to: "test", trunk_id: options.trunk });
await answered;
// What was negotiated, by what was offered.
transceiver.sender.parametersOf = ({ mimeType }) =>
  transceiver.codecs.find((codec) => codec.mimeType.toLowerCase() === mimeType.toLowerCase());
const speaker = new Speaker(transceiver.sender);
tell("answered");

const commands = {
  async speak() {
    await speaker.speak();
    tell("spoken");
  },
  async press(digits) {
    await speaker.press(digits);
    tell("pressed");
  },
  async restart() {
    await negotiate(true);
    // werift leaves the checks of a restart to the other side; an ICE-lite one sends none (RFC 8445 section 6.1.1).
    await Promise.all(connection.iceTransports.map((transport) => transport.start()));
    await connected();
    tell("restarted");
  },
  hangup: () => send({ type: "hangup" }),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const [name, argument] = line.split(" ");
  Promise.resolve(commands[name](argument)).catch(fail);
});
