//! A fixed RTP peer's far end: nobody signals, so it has answered as soon as it is dialled, in the trunk's first codec.

use std::net::SocketAddr;

use codecs::SampleRate;

use crate::bridge::{Codec, StreamFormat, TelephoneEventFormat};
use crate::call::q850::Q850Cause;
use crate::call::rings::TrunkDial;
use crate::call::{RtpMedia, TrunkMedia};
use crate::config::{CodecName, TrunkConfig};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::rtp::{PayloadType, StreamDirection};

/// Static payload types of RFC 3551 table 4.
const PCMU_PAYLOAD_TYPE: PayloadType = PayloadType(0);
const PCMA_PAYLOAD_TYPE: PayloadType = PayloadType(8);
/// Dynamic: the static types 10 and 11 are L16 at 44.1 kHz, ours is 16 kHz.
const L16_PAYLOAD_TYPE: PayloadType = PayloadType(97);
/// Dynamic; the number that browsers use.
const OPUS_PAYLOAD_TYPE: PayloadType = PayloadType(111);
/// Dynamic; the number that telephony equipment expects without being told.
const TELEPHONE_EVENT_PAYLOAD_TYPE: PayloadType = PayloadType(101);
const PTIME_MS: u8 = 20;

/// What the fixed peer of `trunk` brings to the call.
pub(super) fn answer(
    trunk: &TrunkConfig,
    remote: SocketAddr,
    rtcp_mux: bool,
    dial: &TrunkDial,
) -> Result<TrunkMedia, Refusal> {
    if dial.local_rtp.is_none() {
        return Err(super::portless(&trunk.trunk_id));
    }
    let Some(codec) = trunk.codec_preferences.first() else {
        let message = format!("trunk {} has no codec_preferences", trunk.trunk_id);
        return Err(Refusal::new(RefusalCode::NotFound, Fault::Config, message)
            .with_cause(Q850Cause::BEARER_NOT_IMPLEMENTED));
    };
    let format = format_of(*codec);
    let rtcp = SocketAddr::new(remote.ip(), remote.port().saturating_add(1));
    Ok(TrunkMedia::Rtp(Box::new(RtpMedia {
        remote,
        remote_rtcp: (!rtcp_mux).then_some(rtcp),
        sends: format,
        receives: format,
        direction: StreamDirection::SendRecv,
        srtp: None,
    })))
}

fn format_of(codec: CodecName) -> StreamFormat {
    let (codec, payload_type) = match codec {
        CodecName::Pcmu => (Codec::Pcmu, PCMU_PAYLOAD_TYPE),
        CodecName::Pcma => (Codec::Pcma, PCMA_PAYLOAD_TYPE),
        CodecName::L16 => (Codec::L16(SampleRate::Hz16000), L16_PAYLOAD_TYPE),
        CodecName::Opus => (Codec::Opus, OPUS_PAYLOAD_TYPE),
    };
    StreamFormat {
        codec,
        payload_type,
        ptime_ms: PTIME_MS,
        telephone_event: Some(TelephoneEventFormat {
            payload_type: TELEPHONE_EVENT_PAYLOAD_TYPE,
            clock_rate_hz: codec.clock_rate_hz(),
        }),
    }
}
