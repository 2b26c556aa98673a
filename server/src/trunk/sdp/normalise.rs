//! From what SIP equipment writes to what the grammar takes: any line ends, any order within a level, unknown lines
//! and missing `o=`, `s=`, `t=` are no errors. Only the lines and attributes that are read here stay; everything that
//! stays is visible ASCII.

use super::SdpError;

/// The longest SDP, in bytes.
pub const SDP_LEN_MAX: usize = 16 * 1024;
/// The most lines of an SDP.
pub const LINES_MAX: usize = 512;
/// The most m-lines of an SDP.
pub const MEDIA_MAX: usize = 16;
/// The most formats (payload types) of one m-line.
pub const FORMATS_MAX: usize = 64;
/// The longest word of an m-line.
const WORD_LEN_MAX: usize = 64;

/// The attributes that are read.
const ATTRIBUTES: [&str; 11] = [
    "rtpmap", "fmtp", "ptime", "maxptime", "rtcp", "rtcp-mux", "crypto", "sendrecv", "sendonly",
    "recvonly", "inactive",
];
/// The media types that the grammar knows.
const KINDS: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];

const NO_VERSION: &str = "an SDP begins with `v=0`";

/// An SDP in the order of RFC 8866, and what the grammar would have refused.
pub(super) struct Normalised {
    /// For the grammar.
    pub text: String,
    /// The media type of every m-line, as it stands.
    pub kinds: Vec<String>,
}

/// What stays of one level: the session or an m-line.
#[derive(Default)]
struct Level<'a> {
    media: Option<String>,
    connection: Option<&'a str>,
    attributes: Vec<&'a str>,
}

/// The levels as they come.
#[derive(Default)]
struct Levels<'a> {
    session: Level<'a>,
    media: Vec<Level<'a>>,
    kinds: Vec<String>,
}

/// Reads `sdp` line by line.
pub(super) fn normalise(sdp: &[u8]) -> Result<Normalised, SdpError> {
    if sdp.len() > SDP_LEN_MAX {
        return Err(SdpError::TooLong(sdp.len()));
    }
    let mut levels = Levels::default();
    let mut has_version = false;
    // Old Macs ended lines with a CR alone; so do some gateways.
    let line_end = if sdp.contains(&b'\n') { b'\n' } else { b'\r' };
    for (line, content) in (1..).zip(sdp.split(|byte| *byte == line_end)) {
        if line > LINES_MAX {
            return Err(SdpError::TooMany {
                what: "lines",
                limit: LINES_MAX,
            });
        }
        match content.trim_ascii() {
            b"" => {}
            b"v=0" if !has_version => has_version = true,
            content if has_version => levels.take_line(line, content)?,
            _ => {
                let what = NO_VERSION;
                return Err(SdpError::Line { line, what });
            }
        }
    }
    if !has_version {
        let what = NO_VERSION;
        return Err(SdpError::Line { line: 1, what });
    }
    Ok(levels.write())
}

impl<'a> Levels<'a> {
    /// Unknown lines, and lines that are no text, are skipped.
    fn take_line(&mut self, line: usize, content: &'a [u8]) -> Result<(), SdpError> {
        let [kind, b'=', value @ ..] = content else {
            return Ok(());
        };
        match (kind, visible(value)) {
            (b'm', value) => {
                if self.media.len() >= MEDIA_MAX {
                    return Err(SdpError::TooMany {
                        what: "m-lines",
                        limit: MEDIA_MAX,
                    });
                }
                let what = "an m-line is not ASCII";
                let value = value.ok_or(SdpError::Line { line, what })?;
                let (kind, name) = media_name(line, value)?;
                self.kinds.push(kind);
                self.media.push(Level {
                    media: Some(name),
                    ..Level::default()
                });
            }
            (b'c', Some(value)) if is_connection(value) => {
                let level = self.current();
                level.connection = level.connection.or(Some(value));
            }
            (b'a', Some(value)) => {
                let name = value.split(':').next().unwrap_or_default().trim_end();
                if ATTRIBUTES.contains(&name) {
                    self.current().attributes.push(value);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn current(&mut self) -> &mut Level<'a> {
        self.media.last_mut().unwrap_or(&mut self.session)
    }

    fn write(self) -> Normalised {
        let mut text = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\n".to_owned();
        self.session.write_connection(&mut text);
        text.push_str("t=0 0\r\n");
        self.session.write_attributes(&mut text);
        for level in &self.media {
            level.write_media(&mut text);
            level.write_connection(&mut text);
            level.write_attributes(&mut text);
        }
        Normalised {
            text,
            kinds: self.kinds,
        }
    }
}

impl Level<'_> {
    fn write_media(&self, text: &mut String) {
        if let Some(media) = &self.media {
            write_line(text, "m=", media);
        }
    }

    fn write_connection(&self, text: &mut String) {
        if let Some(connection) = self.connection {
            write_line(text, "c=", connection);
        }
    }

    fn write_attributes(&self, text: &mut String) {
        for attribute in &self.attributes {
            write_line(text, "a=", attribute);
        }
    }
}

fn write_line(text: &mut String, kind: &str, value: &str) {
    text.push_str(kind);
    text.push_str(value);
    text.push_str("\r\n");
}

/// Text of visible ASCII, blanks and tabs, or nothing.
fn visible(value: &[u8]) -> Option<&str> {
    let visible = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    let value = value.trim_ascii();
    value.iter().all(visible).then_some(value)?;
    std::str::from_utf8(value).ok()
}

/// `IN IP4 192.0.2.1` or `IN IP6 ...`; the grammar refuses the whole SDP for anything else.
fn is_connection(value: &str) -> bool {
    let mut words = value.split_ascii_whitespace();
    words.next() == Some("IN")
        && matches!(words.next(), Some("IP4" | "IP6"))
        && words.next().is_some()
}

/// The media type, and the m-line as the grammar takes it: a media type that it knows, a port without a count, at
/// least one format.
fn media_name(line: usize, value: &str) -> Result<(String, String), SdpError> {
    let wrong = |what| SdpError::Line { line, what };
    let mut words = value.split_ascii_whitespace();
    if value
        .split_ascii_whitespace()
        .any(|word| word.len() > WORD_LEN_MAX)
    {
        return Err(wrong("an m-line has too long a word"));
    }
    let kind = words.next().ok_or(wrong("an m-line without media type"))?;
    let port = words.next().ok_or(wrong("an m-line without port"))?;
    let port = port.split('/').next().unwrap_or_default();
    let port: u16 = port
        .parse()
        .map_err(|_| wrong("an m-line's port is no port"))?;
    let protocol = words
        .next()
        .ok_or(wrong("an m-line without transport protocol"))?;
    if protocol.split('/').any(str::is_empty) {
        return Err(wrong("an m-line's transport protocol can't be read"));
    }
    let mut formats: Vec<&str> = words.take(FORMATS_MAX + 1).collect();
    if formats.len() > FORMATS_MAX {
        let what = "formats in an m-line";
        return Err(SdpError::TooMany {
            what,
            limit: FORMATS_MAX,
        });
    }
    if formats.is_empty() {
        formats.push("0");
    }
    let known = if KINDS.contains(&kind) {
        kind
    } else {
        "application"
    };
    let name = format!("{known} {port} {protocol} {}", formats.join(" "));
    Ok((kind.to_owned(), name))
}
