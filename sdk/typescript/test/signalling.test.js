import assert from "node:assert/strict";
import { test } from "node:test";

import { PING_EVERY_MS, PONG_WITHIN_MS, PROBE_WITHIN_MS, Signalling, WAITING_MAX, signallingAddress } from "../src/signalling.js";
import { FakeWorld, session } from "./world.js";

const TOKEN = "a.b-c._d";

/** A started session, and everything that it told. */
function start(token = TOKEN) {
  const world = new FakeWorld();
  const told = { lines: [], messages: [], sessions: [], end: undefined };
  const signalling = new Signalling({ address: "wss://gw:7443/signal/browser/acme", token }, {
    session: (message, resumed) => told.sessions.push([message.resume_token, resumed]),
    message: (message) => told.messages.push(message.type),
    line: (state) => told.lines.push(state),
    closed: (end) => (told.end = end),
  }, world);
  signalling.start();
  return { world, told, signalling };
}

/** The same, after the gateway has accepted the token. */
function connected() {
  const all = start();
  all.world.last.say(session("first"));
  return all;
}

test("the address names the tenant, and nothing else is an address", () => {
  assert.equal(signallingAddress("wss://gw:7443/", "acme"), "wss://gw:7443/signal/browser/acme");
  assert.throws(() => signallingAddress("https://gw", "acme"), { code: "bad_url", fault: "config" });
  assert.throws(() => signallingAddress("wss://gw/x", "acme"), { code: "bad_url" });
  assert.throws(() => signallingAddress("wss://gw", "a/b"), { code: "bad_tenant", fault: "caller" });
});

test("the token travels as the second subprotocol, and never if it can't be one", () => {
  const { world } = start();
  assert.deepEqual(world.last.protocols, ["clutchcall.v1", `bearer.${TOKEN}`]);
  const bad = start("no token");
  assert.equal(bad.world.sockets.length, 0);
  assert.equal(bad.told.end.error.code, 4401);
});

test("a lost socket is followed by one that resumes, with the token that was told last", () => {
  const { world, told, signalling } = connected();
  world.last.lose();
  assert.equal(signalling.state, "reconnecting");
  world.pass(250);
  assert.deepEqual(world.last.protocols, ["clutchcall.v1", "resume.first"]);
  world.last.say(session("second"));
  world.last.lose();
  world.pass(250);
  assert.deepEqual(world.last.protocols, ["clutchcall.v1", "resume.second"]);
  world.last.say(session("third"));
  assert.deepEqual(told.sessions, [["first", false], ["second", true], ["third", true]]);
  assert.deepEqual(told.lines, ["connected", "reconnecting", "connected", "reconnecting", "connected"]);
});

test("what is said meanwhile waits in order, offers do not, and there is a limit", () => {
  const { world, signalling } = connected();
  world.last.lose();
  assert.equal(signalling.send({ type: "hold" }), true);
  assert.equal(signalling.send({ type: "offer", sdp: "v=0" }), false);
  assert.equal(signalling.send({ type: "hangup" }), true);
  for (let waiting = 2; waiting < WAITING_MAX; waiting += 1) signalling.send({ type: "hold" });
  assert.equal(signalling.send({ type: "hold" }), false);
  world.pass(250);
  world.last.say(session("second"));
  assert.deepEqual(world.last.sent.slice(0, 2), [{ type: "hold" }, { type: "hangup" }]);
  assert.equal(world.last.sent.length, WAITING_MAX);
});

test("attempts end when the gateway has given the call up", () => {
  const { world, told, signalling } = connected();
  world.last.lose();
  let attempts = 0;
  while (!told.end) {
    world.pass(50);
    if (world.sockets.length > attempts + 1) {
      attempts += 1;
      world.last.lose();
    }
    assert.ok(world.nowMs() < 16_000, "it never gives up");
  }
  assert.ok(attempts >= 5, `${attempts} attempts`);
  assert.equal(told.end.error.code, "connection_lost");
  assert.match(told.end.error.message, /within 15 s/);
  assert.equal(signalling.send({ type: "hangup" }), false);
});

test("an attempt that hangs does not take the whole time", () => {
  const { world } = connected();
  world.last.lose();
  world.pass(10_000);
  assert.ok(world.sockets.length >= 3, `${world.sockets.length} sockets`);
});

test("a refusal ends the session with its blame; an overload may pass while a call goes on", () => {
  const refused = start();
  refused.world.last.lose(4402, "exp was 12 s ago");
  assert.deepEqual([refused.told.end.error.code, refused.told.end.error.fault], [4402, "caller"]);

  const { world, told } = connected();
  world.last.lose();
  world.pass(250);
  world.last.lose(1013, "busy");
  assert.equal(told.end, undefined);
  world.pass(500);
  world.last.lose(4401, "the resume token was used before");
  assert.equal(told.end.error.code, 4401);
});

test("a normal close is an end without an error", () => {
  const { world, told } = connected();
  world.last.lose(1000, "normal call clearing");
  assert.deepEqual(told.end, { code: 1000, reason: "normal call clearing" });
});

test("a gateway that can't be reached is named, with what may be the reason", () => {
  const { world, told } = start();
  world.last.lose();
  assert.equal(told.end.error.code, "unreachable");
  assert.match(told.end.error.message, /gw:7443.*origin/);
});

test("a silent socket is lost, and left with a code that says that the page comes back", () => {
  const { world, signalling } = connected();
  world.pass(PING_EVERY_MS);
  assert.deepEqual(world.last.sent, [{ type: "ping", id: 1 }]);
  world.last.say({ type: "pong", id: 1 });
  world.pass(PING_EVERY_MS);
  const silent = world.last;
  world.pass(PONG_WITHIN_MS);
  assert.equal(silent.closedWith, 4000);
  assert.equal(signalling.state, "reconnecting");
  // What the dead socket still brings is nobody's business.
  silent.lose(1000);
  assert.equal(signalling.state, "reconnecting");
});

test("after a change of network a dead socket is found soon, and the next is opened at once", () => {
  const { world, signalling } = connected();
  signalling.probe();
  world.pass(PROBE_WITHIN_MS);
  assert.equal(signalling.state, "reconnecting");
  const before = world.sockets.length;
  signalling.probe();
  assert.equal(world.sockets.length, before + 1);
  signalling.probe();
  assert.equal(world.sockets.length, before + 1, "one attempt at a time");
});

test("closing says goodbye", () => {
  const { world, told, signalling } = connected();
  signalling.close();
  assert.equal(world.last.closedWith, 1000);
  assert.deepEqual(told.end, { code: 1000, reason: "" });
  world.pass(60_000);
  assert.equal(world.sockets.length, 1);
});

test("what is no message of the dialect ends the session; a type of tomorrow does not", () => {
  const { world, told } = connected();
  world.last.say({ type: "weather" });
  assert.equal(told.end, undefined);
  world.last.say({ type: "bye" });
  assert.deepEqual([told.end.error.code, told.end.error.fault], ["malformed", "us"]);
});
