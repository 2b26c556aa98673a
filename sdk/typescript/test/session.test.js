import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { connect } from "../src/index.js";
import { FakeSocket, session } from "./world.js";

/** The globals of a browser, as far as a session touches them. */
const BROWSER = ["WebSocket", "RTCPeerConnection", "MediaStream", "navigator"];
/** @type {Map<string, PropertyDescriptor | undefined>} */
const node = new Map();
/** @type {FakeSocket[]} */
const sockets = [];

class FakeStream {
  track = { enabled: true, stopped: false, stop: () => (this.track.stopped = true) };

  getAudioTracks() {
    return [this.track];
  }

  getTracks() {
    return [this.track];
  }
}

class FakeConnection extends EventTarget {
  signalingState = "stable";
  connectionState = "new";
  iceConnectionState = "new";
  restarts = 0;

  addTrack() {}

  getSenders() {
    return [];
  }

  async createOffer({ iceRestart }) {
    if (iceRestart) this.restarts += 1;
    return { type: "offer", sdp: `offer ${this.restarts}` };
  }

  async setLocalDescription(description) {
    this.localDescription = description;
    this.signalingState = description.type === "rollback" ? "stable" : "have-local-offer";
  }

  async setRemoteDescription() {
    this.signalingState = "stable";
  }

  close() {
    this.signalingState = "closed";
  }
}

before(() => {
  for (const name of BROWSER) node.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
  const set = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  set("MediaStream", FakeStream);
  set("RTCPeerConnection", FakeConnection);
  set("navigator", {});
  globalThis.addEventListener ??= () => {};
  set("WebSocket", class extends FakeSocket {
    constructor(address, protocols) {
      super(address, protocols);
      sockets.push(this);
    }
  });
});

after(() => {
  for (const [name, descriptor] of node) {
    if (descriptor) Object.defineProperty(globalThis, name, descriptor);
    else delete globalThis[name];
  }
});

/** Until every promise that can go on has gone on. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

/** @param {FakeSocket} socket */
const offers = (socket) => socket.sent.filter((message) => message.type === "offer").map((message) => message.sdp);

/** An open session, its socket and its microphone. */
async function open() {
  const audio = new FakeStream();
  const opening = connect({ url: "wss://gw", tenantId: "acme", token: "a.b.c", audio });
  await settle();
  const socket = sockets.at(-1);
  socket.say(session("first"));
  await settle();
  socket.say({ type: "answer", sdp: "answer" });
  const phone = await opening;
  await new Promise((resolve) => setTimeout(resolve, 5));
  return { session: phone, socket, audio };
}

test("a session is open once its first offer is answered, and dials", async () => {
  const { session: phone, socket } = await open();
  assert.deepEqual(offers(socket), ["offer 0"]);
  const call = phone.dial("+15550100", { trunkId: "echo" });
  assert.deepEqual(socket.sent.at(-1), { type: "dial", to: "+15550100", trunk_id: "echo" });
  assert.throws(() => phone.dial("x"), { code: "call_exists" });
  socket.say({ type: "bye", q850_cause: 16, reason: "normal call clearing" });
  socket.lose(1000, "normal call clearing");
  assert.equal(call.state, "ended");
  assert.throws(() => phone.dial("x"), { code: "call_exists" });
});

test("a resumed session offers an ICE restart; the call goes on", async () => {
  const { session: phone, socket } = await open();
  const call = phone.dial("bob");
  socket.say({ type: "event", call_sid: "CS1", event_type: 2 });
  socket.lose();
  assert.deepEqual([phone.line, call.state], ["reconnecting", "active"]);
  // The first attempt comes within 250 ms.
  const deadline = Date.now() + 5_000;
  while (sockets.at(-1) === socket && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 10));
  const next = sockets.at(-1);
  assert.deepEqual(next.protocols, ["clutchcall.v1", "resume.first"]);
  next.say(session("second"));
  await settle();
  assert.deepEqual(offers(next), ["offer 1"]);
  next.say({ type: "answer", sdp: "answer" });
  await settle();
  assert.deepEqual([phone.line, call.state], ["connected", "active"]);
  phone.close();
  assert.equal(call.state, "ended");
});

test("a refused first offer is the reason why there is no session", async () => {
  const opening = connect({ url: "wss://gw", tenantId: "acme", token: "a.b.c", audio: new FakeStream() });
  await settle();
  const socket = sockets.at(-1);
  socket.say(session("first"));
  await settle();
  socket.say({ type: "error", code: "malformed", message: "the offer has no audio", fault: "caller" });
  socket.lose(4400, "the offer has no audio");
  await assert.rejects(opening, { code: 4400, fault: "caller", message: /the offer has no audio$/ });
});

test("a refused token is told with whose fault it is", async () => {
  const opening = connect({ url: "wss://gw", tenantId: "acme", token: "a.b.c", audio: new FakeStream() });
  await settle();
  sockets.at(-1).lose(4406, "");
  await assert.rejects(opening, { code: 4406, fault: "caller" });
  await assert.rejects(connect({ url: "wss://gw", tenantId: "acme", token: "a b", audio: new FakeStream() }), { code: 4401 });
  await assert.rejects(connect({ url: "gw", tenantId: "acme", token: "a.b.c", audio: new FakeStream() }), { code: "bad_url" });
});

test("an incoming call has the events that came before it; the page's own stream is left alone", async () => {
  const audio = new FakeStream();
  const opening = connect({ url: "wss://gw", tenantId: "acme", token: "a.b.c", audio });
  await settle();
  const socket = sockets.at(-1);
  socket.say(session("first"));
  await settle();
  // All at once: the call comes before the page has had a chance to listen.
  socket.say({ type: "answer", sdp: "answer" });
  socket.say({ type: "event", call_sid: "CS1", event_type: 1 });
  socket.say({ type: "incoming", call_sid: "CS1", from: "+15550100", to: "alice" });
  const phone = await opening;
  let call;
  phone.addEventListener("incoming", ({ detail }) => (call = detail));
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(call.events.length, 1);
  call.answer();
  assert.deepEqual(socket.sent.at(-1), { type: "accept", call_sid: "CS1" });
  socket.say({ type: "event", call_sid: "CS1", event_type: 2 });
  assert.equal(call.state, "active");
  phone.close();
  assert.equal(audio.track.stopped, false);
});
