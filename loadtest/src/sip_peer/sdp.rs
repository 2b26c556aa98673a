//! Session descriptions of one audio stream: what is read of the other side's, and ours.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::media::OutgoingFormat;

/// Who sends (RFC 3264 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Both.
    #[default]
    SendRecv,
    /// Whose description it is.
    SendOnly,
    /// The other.
    RecvOnly,
    /// Nobody.
    Inactive,
}

impl Direction {
    /// As SDP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Does the side whose description it is send?
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Does it listen?
    pub fn listens(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The answer of a side that would like `wanted` (RFC 3264 section 6.1).
    #[must_use]
    pub fn answer(self, wanted: Self) -> Self {
        match (
            wanted.sends() && self.listens(),
            wanted.listens() && self.sends(),
        ) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }
}

/// What is read of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSdp {
    /// Where its RTP goes; the address `0.0.0.0` is an old way of holding.
    pub rtp: SocketAddr,
    /// Payload types in their order, with the name and the clock of `a=rtpmap`.
    pub formats: Vec<(u8, String, u32)>,
    /// The stream's, else the session's.
    pub direction: Direction,
    /// `RTP/AVP`, `RTP/SAVP`
    pub protocol: String,
    /// `a=ptime`
    pub ptime_ms: Option<u32>,
    /// `a=rtcp-mux`
    pub rtcp_mux: bool,
    /// The whole text.
    pub text: String,
}

impl RemoteSdp {
    /// Reads the first audio stream; none if there is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut connection: Option<IpAddr> = None;
        let mut found: Option<Self> = None;
        let mut direction = Direction::SendRecv;
        for line in text.lines() {
            let (kind, value) = line.trim().split_once('=')?;
            match kind {
                "m" if found.is_some() => break,
                "m" if value.starts_with("audio ") => {
                    found = Some(parse_media(value, connection, direction, text)?);
                }
                "c" => {
                    let ip = value.rsplit(' ').next()?.parse().ok()?;
                    connection = Some(ip);
                    if let Some(found) = &mut found {
                        found.rtp.set_ip(ip);
                    }
                }
                "a" => match &mut found {
                    Some(found) => found.read_attribute(value),
                    None => direction = parse_direction(value).unwrap_or(direction),
                },
                _ => {}
            }
        }
        found
    }

    fn read_attribute(&mut self, value: &str) {
        if let Some(direction) = parse_direction(value) {
            self.direction = direction;
        } else if value == "rtcp-mux" {
            self.rtcp_mux = true;
        } else if let Some(ptime) = value.strip_prefix("ptime:") {
            self.ptime_ms = ptime.parse().ok();
        } else if let Some((payload_type, name)) = value
            .strip_prefix("rtpmap:")
            .and_then(|map| map.split_once(' '))
        {
            let mut parts = name.split('/');
            let (name, clock) = (parts.next().unwrap_or(name), parts.next());
            let clock = clock.and_then(|clock| clock.parse().ok()).unwrap_or(8_000);
            let known = self
                .formats
                .iter_mut()
                .find(|(known, _, _)| payload_type == known.to_string());
            if let Some((_, known_name, known_clock)) = known {
                (*known_name, *known_clock) = (name.to_owned(), clock);
            }
        }
    }

    /// The numbers under which the other side wants to hear our codec and digits; none if it does not.
    pub fn format_for(&self, ours: OutgoingFormat) -> Option<OutgoingFormat> {
        let number = |name: &str, clock: u32| {
            self.formats
                .iter()
                .find(|(_, known, known_clock)| {
                    known.eq_ignore_ascii_case(name) && *known_clock == clock
                })
                .map(|(payload_type, _, _)| *payload_type)
        };
        // Opus says 48000 whatever it is sampled with.
        let payload_type = number(ours.codec.name(), ours.codec.clock_rate_hz())?;
        let telephone_event = ours
            .telephone_event
            .and_then(|(_, clock)| Some((number("telephone-event", clock)?, clock)));
        Some(OutgoingFormat {
            codec: ours.codec,
            payload_type,
            telephone_event,
        })
    }
}

fn parse_media(
    value: &str,
    connection: Option<IpAddr>,
    direction: Direction,
    text: &str,
) -> Option<RemoteSdp> {
    let mut parts = value.split(' ').skip(1);
    let port = parts.next()?.parse().ok()?;
    let protocol = parts.next()?.to_owned();
    let formats = parts
        .filter_map(|number| number.parse::<u8>().ok())
        .map(|number| {
            let name = match number {
                0 => "PCMU",
                8 => "PCMA",
                _ => "",
            };
            (number, name.to_owned(), 8_000)
        })
        .collect();
    Some(RemoteSdp {
        rtp: SocketAddr::new(connection.unwrap_or(IpAddr::from([0, 0, 0, 0])), port),
        formats,
        direction,
        protocol,
        ptime_ms: None,
        rtcp_mux: false,
        text: text.to_owned(),
    })
}

fn parse_direction(value: &str) -> Option<Direction> {
    [
        Direction::SendRecv,
        Direction::SendOnly,
        Direction::RecvOnly,
        Direction::Inactive,
    ]
    .into_iter()
    .find(|direction| direction.name() == value)
}

/// Our description.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalSdp {
    /// Where we listen.
    pub(super) rtp: SocketAddr,
    /// What the stream's connection line says: `0.0.0.0` for the old way of holding.
    pub(super) connection: IpAddr,
    pub(super) format: OutgoingFormat,
    pub(super) direction: Direction,
    pub(super) rtcp_mux: bool,
    /// Rises with every change (RFC 3264 section 8).
    pub(super) version: u32,
}

impl LocalSdp {
    pub(super) fn write(&self) -> String {
        let family = |ip: IpAddr| if ip.is_ipv4() { "IP4" } else { "IP6" };
        let (ip, connection) = (self.rtp.ip(), self.connection);
        let codec = self.format.codec;
        let number = self.format.payload_type;
        let mut numbers = number.to_string();
        let mut maps = String::new();
        let name = codec.name();
        let channels = if name == "opus" { "/2" } else { "" };
        let _ = writeln!(
            maps,
            "a=rtpmap:{number} {name}/{}{channels}\r",
            codec.clock_rate_hz()
        );
        if let Some((event, clock)) = self.format.telephone_event {
            let _ = write!(numbers, " {event}");
            let _ = writeln!(maps, "a=rtpmap:{event} telephone-event/{clock}\r");
            let _ = writeln!(maps, "a=fmtp:{event} 0-15\r");
        }
        if self.rtcp_mux {
            maps.push_str("a=rtcp-mux\r\n");
        }
        format!(
            "v=0\r\no=far-end 1 {} IN {} {ip}\r\ns=-\r\nc=IN {} {connection}\r\nt=0 0\r\n\
             m=audio {} RTP/AVP {numbers}\r\n{maps}a=ptime:20\r\na={}\r\n",
            self.version,
            family(ip),
            family(connection),
            self.rtp.port(),
            self.direction.name(),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::media::AudioCodec;

    #[test]
    fn what_is_written_is_read() {
        let format = OutgoingFormat {
            codec: AudioCodec::L16,
            payload_type: 96,
            telephone_event: Some((101, 16_000)),
        };
        let ours = LocalSdp {
            rtp: "127.0.0.1:4000".parse().unwrap(),
            connection: "0.0.0.0".parse().unwrap(),
            format,
            direction: Direction::SendOnly,
            rtcp_mux: true,
            version: 1,
        };
        let theirs = RemoteSdp::parse(&ours.write()).unwrap();
        assert_eq!(theirs.rtp, "0.0.0.0:4000".parse().unwrap());
        assert_eq!(theirs.direction, Direction::SendOnly);
        assert_eq!((theirs.rtcp_mux, theirs.ptime_ms), (true, Some(20)));
        assert_eq!(theirs.format_for(format).unwrap(), format);
        let other = OutgoingFormat {
            codec: AudioCodec::Pcmu,
            ..format
        };
        assert_eq!(theirs.format_for(other), None);
        let fixed = "v=0\r\nc=IN IP4 192.0.2.1\r\na=inactive\r\nm=audio 9 RTP/AVP 8 0\r\nm=video 5 RTP/AVP 99\r\n";
        let theirs = RemoteSdp::parse(fixed).unwrap();
        assert_eq!(theirs.direction, Direction::Inactive);
        assert_eq!(theirs.format_for(other).unwrap().payload_type, 0);
    }

    #[test]
    fn directions_answer_each_other() {
        use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
        assert_eq!(SendRecv.answer(SendRecv), SendRecv);
        assert_eq!(SendOnly.answer(SendRecv), RecvOnly);
        assert_eq!(RecvOnly.answer(SendRecv), SendOnly);
        assert_eq!(Inactive.answer(SendRecv), Inactive);
        assert_eq!(SendRecv.answer(SendOnly), SendOnly);
        assert_eq!(SendOnly.answer(SendOnly), Inactive);
    }
}
