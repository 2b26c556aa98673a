import assert from "node:assert/strict";
import { test } from "node:test";

import { parse } from "../src/dialect.js";

test("messages are read, and those of tomorrow passed over", () => {
  assert.deepEqual(parse('{"type":"dtmf","digit":"5","duration_ms":100}'), { type: "dtmf", digit: "5", duration_ms: 100 });
  assert.deepEqual(parse('{"type":"pong","id":"x"}'), { type: "pong", id: "x" });
  assert.equal(parse('{"type":"weather"}'), undefined);
  assert.equal(parse("{}"), undefined);
});

test("what is missing is named, and is the gateway's fault", () => {
  for (const [text, about] of [
    ['{"type":"answer"}', /answer has no sdp/],
    ['{"type":"session","session_id":"s","ice_servers":null}', /ice_servers/],
    ['{"type":"bye","q850_cause":"16","reason":""}', /q850_cause/],
    ["[]", /no message/],
    ["null", /no message/],
    ["{", /no message/],
  ]) {
    assert.throws(() => parse(text), (error) => error.fault === "us" && about.test(error.message), text);
  }
});
