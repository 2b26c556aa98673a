//! Who calls whom: the vendor's side, the trunk's side, and what audio is worth on the way between them.

use std::fmt;
use std::str::FromStr;

use crate::judge::Bar;
use crate::media::AudioCodec;

/// A pair of callers and far end. Further vendors add theirs here, and a caller beside [`super::browser`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Browsers on Opus, and the embedded echo on PCMU: each hears itself.
    BrowserEcho,
    /// Browsers on Opus, and a SIP carrier on PCMU: transcoded.
    BrowserSip,
    /// Browsers on PCMU, and a SIP carrier on PCMU: passed through.
    BrowserSipPcmu,
    /// Browsers on Opus, and a SIP carrier on Opus: passed through.
    BrowserSipOpus,
}

/// What plays the trunk's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FarEnd {
    /// The gateway's own.
    Echo,
    /// A SIP and RTP far end of ours.
    Sip,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::BrowserEcho,
        Self::BrowserSip,
        Self::BrowserSipPcmu,
        Self::BrowserSipOpus,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::BrowserEcho => "browser-echo",
            Self::BrowserSip => "browser-sip",
            Self::BrowserSipPcmu => "browser-sip-pcmu",
            Self::BrowserSipOpus => "browser-sip-opus",
        }
    }

    /// One line for `--help`.
    pub fn about(self) -> &'static str {
        match self {
            Self::BrowserEcho => "browsers on Opus, the embedded echo on PCMU",
            Self::BrowserSip => "browsers on Opus, a SIP carrier on PCMU: transcoded",
            Self::BrowserSipPcmu => "browsers on PCMU, a SIP carrier on PCMU: passed through",
            Self::BrowserSipOpus => "browsers on Opus, a SIP carrier on Opus: passed through",
        }
    }

    /// What the vendor's side speaks.
    pub fn codec_a(self) -> AudioCodec {
        match self {
            Self::BrowserEcho | Self::BrowserSip | Self::BrowserSipOpus => AudioCodec::Opus,
            Self::BrowserSipPcmu => AudioCodec::Pcmu,
        }
    }

    /// What the trunk's side speaks.
    pub fn codec_b(self) -> AudioCodec {
        match self {
            Self::BrowserEcho | Self::BrowserSip | Self::BrowserSipPcmu => AudioCodec::Pcmu,
            Self::BrowserSipOpus => AudioCodec::Opus,
        }
    }

    /// The gateway decodes and encodes.
    pub fn is_transcoded(self) -> bool {
        self.codec_a() != self.codec_b()
    }

    /// Who answers.
    pub fn far_end(self) -> FarEnd {
        match self {
            Self::BrowserEcho => FarEnd::Echo,
            _ => FarEnd::Sip,
        }
    }

    /// How good the audio has to be on a clean path.
    pub fn bar(self) -> Bar {
        if self.codec_a() == AudioCodec::Opus || self.codec_b() == AudioCodec::Opus {
            Bar::OpusClean
        } else {
            Bar::PcmuToRtp
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no scenario {name:?}; there are {names}")
        })
    }
}
