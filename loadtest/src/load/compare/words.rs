//! What a comparison is told with: its job, both sides' settings, and what a reader must know before any figure.

use codecs::SampleRate;
use codecs::opus::EncoderConfig;

use super::ComparePlan;
use super::rtpengine::{self, Installed};
use super::sdp::CRYPTO_SUITE;
use crate::load::host;
use crate::load::scenario::{Callers, FarEnd, Scenario};
use crate::media::AudioCodec;

/// What its encoder works with; there is no option for it. Read back from libavcodec 59 as rtpengine 10.5 sets it up.
const OPUS_THEIRS: &str = "48 kHz stereo, 32 kb/s, application AUDIO, complexity 10, VBR, no FEC (what 10.5 with libavcodec 59 \
                           was seen to run with; it has no options for them)";

/// Codecs and protection of both sides; none where rtpengine has nothing like it.
pub(super) fn job(scenario: Scenario) -> Option<String> {
    if scenario.callers() != Callers::Browser || scenario.far_end() != FarEnd::Sip {
        return None;
    }
    let work = if scenario.is_transcoded() {
        "transcoded"
    } else {
        "passed through"
    };
    let (a, b) = (scenario.codec_a().name(), scenario.codec_b().name());
    let capital = |name: &str| {
        if name == "opus" {
            "Opus".to_owned()
        } else {
            name.to_owned()
        }
    };
    Some(format!(
        "SRTP {} <-> RTP {}, {work}",
        capital(a),
        capital(b)
    ))
}

/// Our encoder works at the rate of the trunk's codec.
pub(super) fn notes_ours(scenario: Scenario) -> Vec<(String, String)> {
    let mut notes = vec![note(
        "protection",
        "DTLS-SRTP (AEAD_AES_256_GCM), ICE consent checks, reports once a second; the trunk's side plain RTP",
    )];
    if scenario.is_transcoded() {
        let opus = EncoderConfig::for_rate(SampleRate::Hz8000);
        notes.push(note(
            "Opus encoder",
            &format!(
                "{} kHz mono, {} kb/s, application VOIP, complexity {}, VBR, FEC only once there is loss",
                opus.sample_rate.hz() / 1000,
                opus.bitrate_bps / 1000,
                opus.complexity
            ),
        ));
    }
    notes
}

/// Of rtpengine on these cores.
pub(super) fn notes_theirs(
    scenario: Scenario,
    rival: &Installed,
    cores: &[usize],
) -> Vec<(String, String)> {
    let mut notes = vec![
        note("gateway_cores", &format!("{cores:?}")),
        note("version", &rival.version),
        note("command", &rtpengine::command_line(rival, cores.len())),
        note(
            "protection",
            &format!(
                "SDES-SRTP {CRYPTO_SUITE}, no ICE, no DTLS, reports once a second; the trunk's side plain RTP"
            ),
        ),
    ];
    if scenario.is_transcoded() {
        notes.push(note("Opus encoder", OPUS_THEIRS));
    }
    notes
}

fn note(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

pub(super) fn caveats(plan: &ComparePlan, rival: &Installed) -> Vec<String> {
    let name = rival.name();
    let transcoded = plan.ours.scenario.is_transcoded();
    let mut caveats = vec![format!("Measured on {}.", host::description())];
    caveats.push(if transcoded {
        format!(
            "{name} runs in user space (--table=-1), where it transcodes with its kernel module, too."
        )
    } else {
        format!(
            "{name} runs in user space (--table=-1). Its kernel module takes forwarding out of user space: this is not \
             rtpengine at its best."
        )
    });
    if transcoded {
        caveats.push(format!(
            "The encoders work at different settings, and comparing costs compares these: theirs {OPUS_THEIRS}; ours a mono \
             encoder at 8 kHz. Both are what each runs with by itself."
        ));
    }
    if plan.ours.scenario.codec_a() == AudioCodec::Opus {
        caveats
            .push("The vendor's side sends the same Opus of 48 kHz mono through both.".to_owned());
    }
    if plan.ours.calls != plan.theirs.calls {
        caveats.push(format!(
            "{} calls through ours, {} through theirs. A call costs less beside more others, as one wake-up serves more \
             packets; 20 are near the most that rtpengine transcoded on one core of 2.8 GHz.",
            plan.ours.calls, plan.theirs.calls
        ));
    }
    caveats.extend([
        "Through ours callers sign on over a WebSocket, with ICE and DTLS-SRTP, and a SIP carrier answers; through theirs both \
         ends are set up by its control protocol, with SDES-SRTP, without ICE and DTLS. SRTP is AES-GCM through ours, \
         AES-CM with SHA1_80 through theirs. Set-ups are not in the figures; consent checks and our gateway's own RTCP reports \
         are, in ours."
            .to_owned(),
        "CPU is user and system time of the whole process: the median of five parts of the steady time of a turn, then of the \
         turns. Ours includes the answer to one look a second at its metrics."
            .to_owned(),
        "A turn in which a call did not pass the judge or packets were lost left work undone; its CPU does not count.".to_owned(),
        "Callers, gateway and far end share one machine: there is no network card, and a sender's system call pays for the \
         delivery into the receiver's socket."
            .to_owned(),
    ]);
    caveats
}
