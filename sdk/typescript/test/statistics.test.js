import assert from "node:assert/strict";
import { test } from "node:test";

import { summarise } from "../src/statistics.js";

/** What Chromium reports, cut to what is read. */
function report({ at, received, lost, bytes }) {
  return [
    { id: "T", type: "transport", timestamp: at, tlsVersion: "FEFC", srtpCipher: "AES_CM_128_HMAC_SHA1_80", selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", currentRoundTripTime: 0.032, availableOutgoingBitrate: 300_000, localCandidateId: "L" },
    { id: "L", type: "local-candidate", candidateType: "relay", protocol: "udp", relayProtocol: "tls" },
    { id: "C", type: "codec", mimeType: "audio/opus", clockRate: 48_000 },
    { id: "I", type: "inbound-rtp", kind: "audio", timestamp: at, codecId: "C", jitter: 0.004, packetsReceived: received,
      packetsLost: lost, bytesReceived: bytes, totalSamplesReceived: received * 960, concealedSamples: lost * 960 },
    { id: "O", type: "outbound-rtp", kind: "audio", timestamp: at, codecId: "C", packetsSent: received, bytesSent: bytes },
    { id: "R", type: "remote-inbound-rtp", kind: "audio", fractionLost: 0.02 },
  ];
}

test("a report becomes figures; rates are over the time in between", () => {
  const first = summarise(report({ at: 1_000, received: 50, lost: 0, bytes: 4_000 }));
  assert.equal(first.inboundKbps, undefined, "no rate without a time in between");
  const second = summarise(report({ at: 2_000, received: 95, lost: 5, bytes: 8_000 }), first);
  const { counters, ...figures } = second;
  assert.deepEqual(figures, {
    atMs: 2_000,
    codec: "opus 48 kHz",
    outboundCodec: "opus 48 kHz",
    rttMs: 32,
    jitterMs: 4,
    lossPercent: 10,
    outboundLossPercent: 2,
    inboundKbps: 32,
    outboundKbps: 32,
    availableOutgoingKbps: 300,
    concealedPercent: (100 * 5) / 45,
    dtlsVersion: "1.3",
    srtpCipher: "AES_CM_128_HMAC_SHA1_80",
    candidateType: "relay",
    protocol: "tls",
  });
  assert.equal(counters.packetsLost, 5);
});

test("an empty report has no figures", () => {
  const { atMs, counters, ...figures } = summarise([]);
  assert.deepEqual(figures, {});
  assert.equal(atMs, 0);
  assert.equal(counters.packetsReceived, 0);
});

test("packets that were counted as lost and came late are no negative loss", () => {
  const first = summarise(report({ at: 1_000, received: 50, lost: 5, bytes: 4_000 }));
  assert.equal(summarise(report({ at: 2_000, received: 100, lost: 3, bytes: 8_000 }), first).lossPercent, 0);
});
