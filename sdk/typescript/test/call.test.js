import assert from "node:assert/strict";
import { test } from "node:test";

import { Call, nextState } from "../src/call.js";

const event = (eventType) => ({ type: "event", call_sid: "CS1", event_type: eventType });

/** A call, what it said, and everything that it told. */
function make(direction = "outbound", takesDigits = true) {
  const said = [];
  const told = [];
  const line = {
    send: (message) => said.push(message) > 0,
    mute: (on) => said.push({ mute: on }),
    insertDigits: (digits) => takesDigits && said.push({ digits }) > 0,
    remoteTrack: () => undefined,
    getStats: () => Promise.reject(new Error("none")),
  };
  const callSid = direction === "inbound" ? "CS1" : undefined;
  const call = new Call(line, { direction, from: "alice", to: "bob", callSid });
  for (const name of ["state", "event", "digit", "error", "ended"]) {
    call.addEventListener(name, ({ detail }) => told.push([name, detail]));
  }
  return { call, said, told, states: () => told.filter(([name]) => name === "state").map(([, state]) => state) };
}

test("an outbound call: dialling, ringing, active, held, active, ended", () => {
  const { call, told, states } = make();
  assert.equal(call.state, "dialling");
  for (const message of [event(1), { type: "ringing", call_sid: "CS1" }, event(2), event(4), event(5), event(3)]) call.receive(message);
  assert.equal(call.state, "active", "the gateway's bye ends it, not the event");
  call.receive({ type: "bye", q850_cause: 16, reason: "normal call clearing" });
  assert.deepEqual(states(), ["ringing", "active", "held", "active", "ended"]);
  assert.equal(call.callSid, "CS1");
  assert.deepEqual(call.events.map((each) => each.event_type), [1, 2, 4, 5, 3]);
  assert.deepEqual(told.at(-1), ["ended", { cause: 16, reason: "normal call clearing", error: undefined }]);
});

test("nothing follows the end", () => {
  for (const message of [event(2), { type: "ringing", call_sid: "CS1" }]) assert.equal(nextState("ended", message), "ended");
  const { call, told } = make();
  call.finish({ reason: "first" });
  call.finish({ reason: "second" });
  assert.equal(told.filter(([name]) => name === "ended").length, 1);
  assert.equal(call.end?.reason, "first");
});

test("an error right before the end tells why, an older one does not", () => {
  const failure = { type: "error", code: "not_found", message: "no route", fault: "config" };
  const bye = { type: "bye", q850_cause: 3, reason: "no route" };
  const refused = make();
  refused.call.receive(failure);
  refused.call.receive(bye);
  assert.deepEqual([refused.call.end?.error?.code, refused.call.end?.error?.fault], ["not_found", "config"]);
  const later = make();
  for (const message of [failure, event(2), bye]) later.call.receive(message);
  assert.equal(later.call.end?.error, undefined);
});

test("an incoming call is answered or rejected, by its name", () => {
  const { call, said } = make("inbound");
  call.answer();
  assert.deepEqual(said, [{ type: "accept", call_sid: "CS1" }]);
  assert.equal(call.state, "answering");
  assert.throws(() => call.reject(), { code: "no_call", fault: "caller" });

  const other = make("inbound");
  other.call.reject(17);
  assert.deepEqual(other.said, [{ type: "reject", call_sid: "CS1", q850_cause: 17 }]);
  assert.throws(() => make().call.answer(), /only an incoming call can be answered; this one is dialling/);
});

test("digits go into the audio, or by the gateway where the browser can't", () => {
  const { call, said } = make();
  call.sendDigits("15#");
  call.sendDigits("2", { via: "gateway", durationMs: 200 });
  assert.deepEqual(said, [{ digits: "15#" }, { type: "dtmf", digits: "2", duration_ms: 200 }]);
  const poor = make("outbound", false);
  poor.call.sendDigits("9");
  assert.deepEqual(poor.said, [{ type: "dtmf", digits: "9", duration_ms: 120 }]);
  for (const wrong of ["", "x", "1".repeat(33)]) assert.throws(() => call.sendDigits(wrong), { code: "invalid_value" });
  assert.throws(() => call.sendDigits("1", { durationMs: 10 }), { code: "invalid_value" });
});

test("hold, mute and hang-up say what they mean", () => {
  const { call, said } = make();
  call.hold(true);
  call.hold(false);
  call.mute(true);
  assert.equal(call.muted, true);
  call.hangUp();
  assert.deepEqual(said, [{ type: "hold" }, { type: "unhold" }, { mute: true }, { mute: true }, { type: "hangup" }]);
});
