//! What one direction of the bridge did to the packets it was given. Plain counters since the call began.

use serde::Serialize;

/// Counters of one direction; they survive renegotiation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DirectionStatistics {
    /// Audio packets forwarded as they came.
    pub passed: u64,
    /// Audio packets that were encoded for the sink.
    pub transcoded: u64,
    /// Of these, packets of silence, which our Opus did not have to encode.
    pub silent: u64,
    /// Stretches of audio of at most one packet's length that concealment made up.
    pub concealed: u64,
    /// Lost Opus frames that were recovered from the in-band FEC of the next packet.
    pub fec_recovered: u64,
    /// Packets that came after their place was played or given up.
    pub late: u64,
    /// Exact copies of packets that were taken before.
    pub duplicates: u64,
    /// Packets that the decoder refused and frames that the encoder refused.
    pub codec_errors: u64,
    /// Audio packets dropped while the direction was on hold.
    pub held: u64,
    /// Audio packets dropped because a digit was being sent in their place.
    pub under_event: u64,
    /// Packets without payload: padding by which a sender probes the bandwidth.
    pub padding: u64,
    /// Packets of a payload type that the source did not negotiate.
    pub unknown_payload_type: u64,
    /// Packets longer than [`PAYLOAD_LEN_MAX`](super::PAYLOAD_LEN_MAX).
    pub oversized: u64,
    /// Packets dropped because the owner did not poll between them.
    pub overrun: u64,
    /// Times that the source began anew: another SSRC, or a sequence or clock that jumped beyond explanation.
    pub source_restarts: u64,
    /// Digits that the source sent.
    pub digits_received: u64,
    /// Packets of tones that were made for the sink: digits that go as audio.
    pub tone_packets: u64,
    /// Digits that the sink was sent as telephone-events: the source's and those of the `dtmf` message.
    pub digits_sent: u64,
}
