//! What an SDP answer chose for our one audio section: codec, payload types, clocks.

use super::{AudioCodec, OutgoingFormat};

/// Reads the first audio section of an answer: the first payload type with a codec that we know is what is sent, and a
/// telephone-event with that codec's clock (any, if none has it). None: no audio that we know, or a rejected section.
pub fn chosen_format(sdp: &str) -> Option<OutgoingFormat> {
    let mut payload_types: Vec<u8> = Vec::new();
    let mut encodings: Vec<(u8, String, u32)> = Vec::new();
    for line in sdp.lines().skip_while(|line| !line.starts_with("m=audio")) {
        if let Some(media) = line.strip_prefix("m=") {
            if !payload_types.is_empty() {
                break;
            }
            let mut fields = media.split_whitespace().skip(1);
            if fields.next() == Some("0") {
                return None;
            }
            payload_types = fields
                .skip(1)
                .filter_map(|field| field.parse().ok())
                .collect();
        } else if let Some(map) = line.strip_prefix("a=rtpmap:") {
            let (payload_type, encoding) = map.split_once(' ')?;
            let mut parts = encoding.trim().split('/');
            let name = parts.next()?.to_ascii_lowercase();
            encodings.push((
                payload_type.parse().ok()?,
                name,
                parts.next()?.parse().ok()?,
            ));
        }
    }
    // The static types need no rtpmap.
    for (payload_type, name) in [(0, "pcmu"), (8, "pcma")] {
        if !encodings.iter().any(|encoding| encoding.0 == payload_type) {
            encodings.push((payload_type, name.to_owned(), 8_000));
        }
    }
    let encoding_of =
        |payload_type: u8| encodings.iter().find(|encoding| encoding.0 == payload_type);
    let (payload_type, codec) = payload_types.iter().find_map(|payload_type| {
        let (_, name, _) = encoding_of(*payload_type)?;
        let codec = match name.as_str() {
            "opus" => AudioCodec::Opus,
            "pcmu" => AudioCodec::Pcmu,
            "pcma" => AudioCodec::Pcma,
            _ => return None,
        };
        Some((*payload_type, codec))
    })?;
    let events = || {
        payload_types
            .iter()
            .filter_map(|payload_type| encoding_of(*payload_type))
            .filter(|(_, name, _)| name == "telephone-event")
            .map(|(payload_type, _, clock_rate_hz)| (*payload_type, *clock_rate_hz))
    };
    let telephone_event = events()
        .find(|(_, clock)| *clock == codec.clock_rate_hz())
        .or_else(|| events().next());
    Some(OutgoingFormat {
        codec,
        payload_type,
        telephone_event,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_numbers_are_taken() {
        let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 109 101\r\na=rtpmap:109 opus/48000/2\r\n\
                   a=rtpmap:101 telephone-event/48000\r\n";
        let expected = OutgoingFormat {
            codec: AudioCodec::Opus,
            payload_type: 109,
            telephone_event: Some((101, 48_000)),
        };
        assert_eq!(chosen_format(sdp), Some(expected));
    }

    #[test]
    fn static_types_need_no_rtpmap() {
        let format = chosen_format("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n");
        assert_eq!(format.map(|format| format.codec), Some(AudioCodec::Pcmu));
    }

    #[test]
    fn a_rejected_section_is_none() {
        assert_eq!(chosen_format("m=audio 0 UDP/TLS/RTP/SAVPF 0\r\n"), None);
        assert_eq!(chosen_format(""), None);
    }
}
