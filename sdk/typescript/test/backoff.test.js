import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../src/backoff.js";

test("waits double up to a ceiling", () => {
  const backoff = new Backoff(0, 60_000, () => 1);
  const waits = Array.from({ length: 7 }, () => backoff.nextWaitMs(0));
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 4_000, 4_000]);
});

test("jitter takes away at most half", () => {
  const backoff = new Backoff(0, 60_000, () => 0);
  assert.equal(backoff.nextWaitMs(0), 125);
});

test("no attempt begins when the gateway has given the call up", () => {
  const backoff = new Backoff(1_000, 15_000, () => 1);
  assert.equal(backoff.leftMs(4_000), 12_000);
  assert.equal(backoff.nextWaitMs(15_700), 250);
  assert.equal(backoff.nextWaitMs(15_800), undefined);
  assert.equal(backoff.leftMs(20_000), 0);
});
