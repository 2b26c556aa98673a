//! Who calls whom: the vendor's side, the trunk's side, and what audio is worth on the way between them.

use std::fmt;
use std::str::FromStr;

use super::agent_answerer::AgentDialect;
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
    /// Browsers on Opus, and an AI agent on 16-bit samples at 16 kHz: transcoded.
    BrowserAi,
    /// Twilio Media Streams, and a SIP carrier on PCMU: bytes untouched.
    TwilioSip,
    /// Twilio Media Streams, and an AI agent that was made for these: bytes untouched.
    TwilioAi,
    /// A relay with Vapi's framing on 16-bit samples at 16 kHz, and a SIP carrier on PCMU: transcoded.
    VapiSip,
    /// A SIP carrier on PCMU calls, and the gateway calls Vapi, on 16-bit samples at 16 kHz: transcoded.
    VapiClient,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Pages.
    Browser,
    /// Twilio, for its `<Stream>`.
    Twilio,
    /// A relay in front of Vapi.
    VapiRelay,
    /// A SIP and RTP carrier of ours: the trunk's side.
    Sip,
}

/// What answers: the trunk's side, unless it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FarEnd {
    /// The gateway's own.
    Echo,
    /// A SIP and RTP far end of ours.
    Sip,
    /// AI agents of ours, by WebSocket.
    Agent(AgentDialect),
    /// A Vapi service of ours. It is the vendor's side, and the trunk's side calls.
    Vapi,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BrowserEcho,
        Self::BrowserSip,
        Self::BrowserSipPcmu,
        Self::BrowserSipOpus,
        Self::BrowserAi,
        Self::TwilioSip,
        Self::TwilioAi,
        Self::VapiSip,
        Self::VapiClient,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::BrowserEcho => "browser-echo",
            Self::BrowserSip => "browser-sip",
            Self::BrowserSipPcmu => "browser-sip-pcmu",
            Self::BrowserSipOpus => "browser-sip-opus",
            Self::BrowserAi => "browser-ai",
            Self::TwilioSip => "twilio-sip",
            Self::TwilioAi => "twilio-ai",
            Self::VapiSip => "vapi-sip",
            Self::VapiClient => "vapi-client",
        }
    }

    /// One line for `--help`.
    pub fn about(self) -> &'static str {
        match self {
            Self::BrowserEcho => "browsers on Opus, the embedded echo on PCMU",
            Self::BrowserSip => "browsers on Opus, a SIP carrier on PCMU: transcoded",
            Self::BrowserSipPcmu => "browsers on PCMU, a SIP carrier on PCMU: passed through",
            Self::BrowserSipOpus => "browsers on Opus, a SIP carrier on Opus: passed through",
            Self::BrowserAi => "browsers on Opus, an AI agent on 16 kHz samples: transcoded",
            Self::TwilioSip => "Twilio Media Streams, a SIP carrier on PCMU: bytes untouched",
            Self::TwilioAi => "Twilio Media Streams, an AI agent made for them: bytes untouched",
            Self::VapiSip => {
                "a relay in Vapi's framing on 16 kHz samples, a SIP carrier on PCMU: transcoded"
            }
            Self::VapiClient => {
                "a SIP carrier on PCMU calls, Vapi on 16 kHz samples answers: transcoded"
            }
        }
    }

    /// What the vendor's side speaks.
    pub fn codec_a(self) -> AudioCodec {
        match self {
            Self::BrowserEcho | Self::BrowserSip | Self::BrowserSipOpus | Self::BrowserAi => {
                AudioCodec::Opus
            }
            Self::BrowserSipPcmu | Self::TwilioSip | Self::TwilioAi => AudioCodec::Pcmu,
            Self::VapiSip | Self::VapiClient => AudioCodec::L16,
        }
    }

    /// What the trunk's side speaks.
    pub fn codec_b(self) -> AudioCodec {
        match self {
            Self::BrowserEcho
            | Self::BrowserSip
            | Self::BrowserSipPcmu
            | Self::TwilioSip
            | Self::TwilioAi
            | Self::VapiSip
            | Self::VapiClient => AudioCodec::Pcmu,
            Self::BrowserSipOpus => AudioCodec::Opus,
            Self::BrowserAi => AudioCodec::L16,
        }
    }

    /// The gateway decodes and encodes.
    pub fn is_transcoded(self) -> bool {
        self.codec_a() != self.codec_b()
    }

    /// Who calls.
    pub fn callers(self) -> Callers {
        match self {
            Self::BrowserEcho
            | Self::BrowserSip
            | Self::BrowserSipPcmu
            | Self::BrowserSipOpus
            | Self::BrowserAi => Callers::Browser,
            Self::TwilioSip | Self::TwilioAi => Callers::Twilio,
            Self::VapiSip => Callers::VapiRelay,
            Self::VapiClient => Callers::Sip,
        }
    }

    /// Who answers.
    pub fn far_end(self) -> FarEnd {
        match self {
            Self::BrowserEcho => FarEnd::Echo,
            Self::BrowserSip
            | Self::BrowserSipPcmu
            | Self::BrowserSipOpus
            | Self::TwilioSip
            | Self::VapiSip => FarEnd::Sip,
            Self::BrowserAi => FarEnd::Agent(AgentDialect::Pcm16),
            Self::TwilioAi => FarEnd::Agent(AgentDialect::Twilio),
            Self::VapiClient => FarEnd::Vapi,
        }
    }

    /// Every frame that is heard must be one that was said, in order, byte for byte.
    pub fn is_frame_exact(self) -> bool {
        matches!(self, Self::TwilioSip | Self::TwilioAi)
    }

    /// Sound goes over WebSockets on one side at least.
    pub fn has_streams(self) -> bool {
        self.stream_sides() > 0
    }

    /// On how many sides sound goes over WebSockets.
    pub fn stream_sides(self) -> u32 {
        let callers = matches!(self.callers(), Callers::Twilio | Callers::VapiRelay);
        let far_end = matches!(self.far_end(), FarEnd::Agent(_) | FarEnd::Vapi);
        u32::from(callers) + u32::from(far_end)
    }

    /// Telephone speech is heard at 16 kHz, where an upsampler may leave images.
    pub fn is_widened(self) -> bool {
        let (a, b) = (self.codec_a(), self.codec_b());
        let widens = |from: AudioCodec, to| from.has_telephone_band() && to == AudioCodec::L16;
        widens(a, b) || widens(b, a)
    }

    /// A SIP carrier takes part.
    pub fn has_sip(self) -> bool {
        self.far_end() == FarEnd::Sip || self.callers() == Callers::Sip
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
