//! `call`: one call with speech through a gateway, told as it goes, and its echo judged.

use std::error::Error;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use loadtest::audio::Audio;
use loadtest::judge::{Bar, Playback, Verdict};
use loadtest::media::AudioCodec;
use loadtest::signalling::{Received, ServerMessage, Trust};
use loadtest::speech;
use loadtest::webrtc_client::{CallPlan, CallReport, DtlsChoice, WebRtcCall};
use serde_json::json;
use server::call::{CallEvent, EventType};

use super::BarName;
use super::terminal::verdict_coloured;

/// The last words travel so long at most before the call is hung up.
const TAIL: Duration = Duration::from_millis(600);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecName {
    /// Opus at 48 kHz
    Opus,
    /// G.711 mu-law
    Pcmu,
    /// G.711 A-law
    Pcma,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DtlsName {
    /// Offer both
    Auto,
    #[value(name = "1.2")]
    Only12,
    #[value(name = "1.3")]
    Only13,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The trunk has to play the caller back, as a trunk of kind \"echo\" does. The delay counts from mouth to ear: 20 ms of it are
the packet itself, and some the codec.

  clutchcall-loadtest call --url wss://localhost:7443 --tenant acme --trunk echo --token-file token --ca cert.pem
  clutchcall-loadtest call --url wss://gw.example.com:7443 --tenant acme --to +15550100 --token-file token --codec pcmu \\
      --speech my.wav --record heard.wav --json")]
pub(super) struct CallArguments {
    /// Where the gateway is: wss://host:port
    #[arg(long)]
    url: String,
    /// The tenant whose call it is
    #[arg(long)]
    tenant: String,
    /// A SessionAuth token; in scripts better --token-file, other users see command lines
    #[arg(
        long,
        required_unless_present = "token_file",
        conflicts_with = "token_file"
    )]
    token: Option<String>,
    /// A file with a SessionAuth token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The page's origin, if the token or the tenant wants one
    #[arg(long)]
    origin: Option<String>,
    /// The trunk; without it the tenant's route decides
    #[arg(long)]
    trunk: Option<String>,
    /// Whom to call
    #[arg(long, default_value = "+15550100")]
    to: String,
    /// The caller's codec
    #[arg(long, value_enum, default_value_t = CodecName::Opus)]
    codec: CodecName,
    /// DTLS versions
    #[arg(long, value_enum, default_value_t = DtlsName::Auto)]
    dtls: DtlsName,
    /// Believe the gateway that shows this certificate (PEM), or one signed by it
    #[arg(long, value_name = "FILE", required_unless_present = "insecure")]
    ca: Option<PathBuf>,
    /// Believe any gateway: for a first try only
    #[arg(long, conflicts_with = "ca")]
    insecure: bool,
    /// Say this WAV file instead of the built-in sentence
    #[arg(long, value_name = "FILE")]
    speech: Option<PathBuf>,
    /// Write what was heard to this WAV file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// How good the echo has to be; default: opus, and pcmu where the caller's codec is G.711
    #[arg(long, value_enum)]
    bar: Option<BarName>,
    /// Bind the media socket here, instead of at loopback and the outward address; may be repeated
    #[arg(long = "local-ip", value_name = "IP")]
    local_ips: Vec<IpAddr>,
    /// Print one JSON report instead of lines
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &CallArguments) -> Result<bool, Box<dyn Error>> {
    let plan = plan(arguments)?;
    let bar = arguments.bar.map_or_else(|| bar_for(plan.codec), Bar::from);
    let say = |line: &str| {
        if !arguments.json {
            println!("{line}");
        }
    };

    say(&format!(
        "calling {} as {} over {} in {}",
        plan.to,
        plan.tenant,
        plan.url,
        plan.codec.name()
    ));
    let call = WebRtcCall::dial(&plan)?;
    let told = tell(&call.signalling().received(), 0, say);
    call.speak(&plan.speech, Playback::Once);
    let speech = Duration::from_millis(plan.speech.duration_ms() as u64);
    call.wait_until_spoken(Instant::now() + speech + plan.step_timeout)?;
    std::thread::sleep(TAIL);
    let report = call.hang_up()?;
    tell(&report.messages, told, say);

    if let Some(file) = &arguments.record {
        report.recording.audio.write_wav(file)?;
    }
    let verdict = report.verdict(&plan.speech, bar)?;
    if arguments.json {
        println!(
            "{}",
            serde_json::to_string_pretty(&json_report(&report, &verdict))?
        );
    } else {
        summary(&report, &verdict);
    }
    Ok(verdict.pass)
}

fn plan(arguments: &CallArguments) -> Result<CallPlan, Box<dyn Error>> {
    let token = match (&arguments.token, &arguments.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(file)) => {
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?
        }
        (None, None) => String::new(),
    };
    let trust = arguments
        .ca
        .clone()
        .map_or(Trust::Anybody, Trust::CertificateFile);
    let mut plan = CallPlan::new(&arguments.url, trust, &arguments.tenant, token.trim());
    plan.origin = arguments.origin.clone();
    plan.to = arguments.to.clone();
    plan.trunk_id = arguments.trunk.clone();
    plan.codec = match arguments.codec {
        CodecName::Opus => AudioCodec::Opus,
        CodecName::Pcmu => AudioCodec::Pcmu,
        CodecName::Pcma => AudioCodec::Pcma,
    };
    plan.dtls = match arguments.dtls {
        DtlsName::Auto => DtlsChoice::Auto,
        DtlsName::Only12 => DtlsChoice::Only12,
        DtlsName::Only13 => DtlsChoice::Only13,
    };
    if !arguments.local_ips.is_empty() {
        plan.local_ips = arguments.local_ips.clone();
    }
    plan.speech = match &arguments.speech {
        Some(file) => Audio::read_wav(file)?,
        None => speech::alpha(),
    };
    Ok(plan)
}

fn bar_for(codec: AudioCodec) -> Bar {
    match codec {
        AudioCodec::Opus => Bar::OpusClean,
        AudioCodec::Pcmu | AudioCodec::Pcma | AudioCodec::L16 => Bar::PcmuToRtp,
    }
}

/// Says the events from number `from` of the messages on; returns how many messages there were.
fn tell(messages: &[Received], from: usize, say: impl Fn(&str)) -> usize {
    for received in messages.iter().skip(from) {
        match &received.message {
            ServerMessage::Event(event) => say(&event_line(event)),
            ServerMessage::Ringing { .. } => say("ringing"),
            ServerMessage::Error {
                code,
                message,
                fault,
            } => say(&format!("error {code} (fault {fault}): {message}")),
            _ => {}
        }
    }
    messages.len()
}

fn event_line(event: &CallEvent) -> String {
    let name = match event.event_type {
        EventType::ChannelCreate => "CHANNEL_CREATE",
        EventType::ChannelAnswer => "CHANNEL_ANSWER",
        EventType::ChannelHangupComplete => "CHANNEL_HANGUP_COMPLETE",
        EventType::ChannelHold => "CHANNEL_HOLD",
        EventType::ChannelResume => "CHANNEL_RESUME",
    };
    // The status word as it stands in the event itself.
    let status = serde_json::to_value(event.status).unwrap_or_default();
    let mut line = format!(
        "{name} {} {}",
        event.call_sid,
        status.as_str().unwrap_or_default()
    );
    if event.event_type == EventType::ChannelHangupComplete {
        line += &format!(
            ", cause {}, {} s, {} packets sent, {} received, {} lost, jitter {:.1} ms, MOS {:.2}, codec {}",
            event.q850_cause,
            event.duration_seconds,
            event.packets_sent,
            event.packets_received,
            event.packets_lost,
            event.jitter_ms,
            event.estimated_mos,
            event.codec
        );
    }
    line
}

fn summary(report: &CallReport, verdict: &Verdict) {
    let statistics = &report.recording.statistics;
    println!(
        "set-up {:.0} ms, {} with {}; received {} packets, lost {}, jitter {:.1} ms",
        report.setup_ms,
        report.media.dtls,
        report.media.srtp,
        statistics.received,
        statistics.lost,
        statistics.jitter_ms
    );
    if let (Some(delay_ms), Some(transit_ms)) = (verdict.delay_ms, report.transit_ms(verdict)) {
        println!(
            "delay {delay_ms:.1} ms from mouth to ear: 20 ms packet, {:.1} ms codec at the sender, {transit_ms:.1} ms the path",
            report.lookahead_ms
        );
    }
    println!("{}", verdict_coloured(&verdict.to_string(), verdict.pass));
}

fn json_report(report: &CallReport, verdict: &Verdict) -> serde_json::Value {
    json!({
        "call_sid": report.call_sid,
        "events": report.events,
        "setup_ms": report.setup_ms,
        "lookahead_ms": report.lookahead_ms,
        "transit_ms": report.transit_ms(verdict),
        "received": report.recording.statistics,
        "media": report.media,
        "verdict": verdict,
    })
}
