import assert from "node:assert/strict";
import { test } from "node:test";

import { CallError, refusal } from "../src/errors.js";

test("a refusal names its code, the gateway's words and who is to blame", () => {
  const error = refusal(4402, "exp was 12 s ago");
  assert.ok(error instanceof CallError);
  assert.equal(error.code, 4402);
  assert.equal(error.fault, "caller");
  assert.equal(error.message, "the token has expired: exp was 12 s ago");
});

test("the gateway takes the blame for its own failures, the operator for the configuration", () => {
  for (const code of [1011, 1012, 1013]) assert.equal(refusal(code, "")?.fault, "us");
  assert.equal(refusal(4404, "")?.fault, "config");
});

test("a normal end and a lost socket are no refusals", () => {
  for (const code of [1000, 1001, 1005, 1006]) assert.equal(refusal(code, ""), undefined);
});
