/**
 * A summary of `RTCPeerConnection.getStats()` for a person: W3C webrtc-stats in, a dozen figures out. Pure.
 */

/**
 * What is known now; a figure that is not known is absent.
 * @typedef {{
 *   atMs: number,
 *   codec?: string,
 *   outboundCodec?: string,
 *   rttMs?: number,
 *   jitterMs?: number,
 *   lossPercent?: number,
 *   outboundLossPercent?: number,
 *   inboundKbps?: number,
 *   outboundKbps?: number,
 *   availableOutgoingKbps?: number,
 *   concealedPercent?: number,
 *   dtlsVersion?: string,
 *   srtpCipher?: string,
 *   candidateType?: string,
 *   protocol?: string,
 *   counters: Counters,
 * }} StatsSummary
 */

/**
 * What the next summary is a difference to.
 * @typedef {{
 *   bytesReceived: number, bytesSent: number, packetsReceived: number, packetsLost: number, packetsSent: number,
 *   concealedSamples: number, samplesReceived: number,
 * }} Counters
 */

/** @typedef {Record<string, any>} Entry */

/** How DTLS versions are told: ones' complement (RFC 6347, RFC 9147). @type {Readonly<Record<string, string>>} */
const DTLS_VERSIONS = Object.freeze({ FEFF: "1.0", FEFD: "1.2", FEFC: "1.3" });

/**
 * Rates are over the time since `previous`; without one they are absent.
 * @param {Iterable<Entry>} report the entries of an `RTCStatsReport`
 * @param {StatsSummary} [previous]
 * @returns {StatsSummary}
 */
export function summarise(report, previous) {
  const entries = new Map([...report].map((entry) => [entry.id, entry]));
  /** @param {string} type @returns {Entry} */
  const first = (type) => [...entries.values()].find((each) => each.type === type && (each.kind ?? "audio") === "audio") ?? {};
  const [inbound, outbound, remote, transport] = ["inbound-rtp", "outbound-rtp", "remote-inbound-rtp", "transport"].map(first);
  const pair = entries.get(transport?.selectedCandidatePairId) ?? {};
  const local = entries.get(pair.localCandidateId) ?? {};
  /** @type {Counters} */
  const counters = {
    bytesReceived: inbound?.bytesReceived ?? 0,
    bytesSent: outbound?.bytesSent ?? 0,
    packetsReceived: inbound?.packetsReceived ?? 0,
    packetsLost: inbound?.packetsLost ?? 0,
    packetsSent: outbound?.packetsSent ?? 0,
    concealedSamples: inbound?.concealedSamples ?? 0,
    samplesReceived: inbound?.totalSamplesReceived ?? 0,
  };
  const atMs = inbound?.timestamp ?? outbound?.timestamp ?? transport?.timestamp ?? 0;
  return present({
    atMs,
    codec: codecName(entries.get(inbound?.codecId)),
    outboundCodec: codecName(entries.get(outbound?.codecId)),
    rttMs: scaled(pair.currentRoundTripTime ?? remote?.roundTripTime, 1000),
    jitterMs: scaled(inbound?.jitter, 1000),
    outboundLossPercent: scaled(remote?.fractionLost, 100),
    availableOutgoingKbps: scaled(pair.availableOutgoingBitrate, 0.001),
    dtlsVersion: DTLS_VERSIONS[String(transport?.tlsVersion).toUpperCase()],
    srtpCipher: transport?.srtpCipher,
    candidateType: local.candidateType,
    protocol: local.relayProtocol ?? local.protocol,
    ...differences(counters, atMs, previous),
    counters,
  });
}

/**
 * @param {Counters} now
 * @param {number} atMs
 * @param {StatsSummary} [previous]
 * @returns {Partial<StatsSummary>}
 */
function differences(now, atMs, previous) {
  if (!previous || atMs <= previous.atMs) return {};
  const before = previous.counters;
  const elapsedMs = atMs - previous.atMs;
  const lost = Math.max(0, now.packetsLost - before.packetsLost);
  const expected = lost + Math.max(0, now.packetsReceived - before.packetsReceived);
  const samples = now.samplesReceived - before.samplesReceived;
  return {
    inboundKbps: ((now.bytesReceived - before.bytesReceived) * 8) / elapsedMs,
    outboundKbps: ((now.bytesSent - before.bytesSent) * 8) / elapsedMs,
    lossPercent: expected > 0 ? (100 * lost) / expected : undefined,
    concealedPercent: samples > 0 ? (100 * (now.concealedSamples - before.concealedSamples)) / samples : undefined,
  };
}

/** `audio/opus` at 48000 is "opus 48 kHz". @param {Entry | undefined} codec */
function codecName(codec) {
  if (!codec) return undefined;
  const name = String(codec.mimeType).replace(/^audio\//i, "");
  return codec.clockRate ? `${name} ${codec.clockRate / 1000} kHz` : name;
}

/** @param {number | undefined} value @param {number} factor */
function scaled(value, factor) {
  return value === undefined ? undefined : value * factor;
}

/** Without what is undefined. @param {StatsSummary} summary */
function present(summary) {
  return /** @type {StatsSummary} */ (Object.fromEntries(Object.entries(summary).filter(([, value]) => value !== undefined)));
}
