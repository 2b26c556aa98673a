//! baresip: a phone with TLS, SRTP by SDES and audio from and to files, told what to do by its TCP control port.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::SipProgramError;
use super::process::{Process, directory, free_addr, write};
use crate::audio::{Audio, AudioError};
use crate::media::AudioCodec;

const READY_WITHIN: Duration = Duration::from_secs(15);
const READ_TIMEOUT: Duration = Duration::from_millis(100);
const PROGRAM: (&str, &str) = ("baresip", "baresip-core");
/// Silence behind the speech: at the end of its file baresip hangs up.
const SILENCE_S: usize = 120;
/// Where Debian keeps its modules.
const MODULES: &str = "/usr/lib/baresip/modules";

/// How its messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaresipTransport {
    /// Datagrams.
    Udp,
    /// A connection.
    Tcp,
    /// An encrypted connection.
    Tls,
}

/// How its media is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaEncryption {
    /// Not.
    None,
    /// `srtp-mand`: SDES in `RTP/SAVP`, or no call.
    SdesMandatory,
    /// `srtp`: SDES if the other side wants it.
    SdesOptional,
}

/// How it runs.
#[derive(Debug, Clone)]
pub struct BaresipConfig {
    /// Its user.
    pub user: String,
    /// User, password and registrar or proxy that it is reached by; none: it is called directly.
    pub account: Option<BaresipAccount>,
    /// How its messages travel.
    pub transport: BaresipTransport,
    /// Who signs the certificates of those it calls.
    pub ca_file: Option<PathBuf>,
    /// PEM with its own certificate and key. With TLS also requests within its own calls come by a connection of the other
    /// side's, for which it needs one.
    pub certificate: Option<PathBuf>,
    /// Its only codec.
    pub codec: AudioCodec,
    /// How its media is encrypted.
    pub encryption: MediaEncryption,
    /// Answers by itself.
    pub answers: bool,
    /// Said once from the answer on. Two minutes after it the call is over.
    pub speech: Audio,
}

/// How it is known to a proxy.
#[derive(Debug, Clone)]
pub struct BaresipAccount {
    /// Name for digests.
    pub username: String,
    /// Password.
    pub password: String,
    /// Where every request goes.
    pub proxy: SocketAddr,
    /// Registers for so long; 0: not.
    pub register_s: u32,
}

/// What it told: an event, or the answer to a command.
#[derive(Debug, Clone)]
pub struct BaresipEvent {
    /// When.
    pub at: Instant,
    /// `CALL_ESTABLISHED` and the like; empty for an answer.
    pub kind: String,
    /// All of it.
    pub value: Value,
}

/// A running baresip. Dropping it ends the process.
#[derive(Debug)]
pub struct Baresip {
    process: Process,
    control: TcpStream,
    events: Arc<Mutex<Vec<BaresipEvent>>>,
    addr: SocketAddr,
    transport: BaresipTransport,
    user: String,
    directory: TempDir,
}

impl Baresip {
    /// Starts it, and waits until it takes orders.
    ///
    /// # Errors
    /// It is not installed, or does not take orders.
    pub fn start(config: &BaresipConfig) -> Result<Self, SipProgramError> {
        let directory = directory()?;
        let file = |name: &str| directory.path().join(name);
        let (addr, control) = (free_addr()?, free_addr()?);
        let rate_hz = config.codec.clock_rate_hz();
        let io = |what| move |error| SipProgramError::Io(what, error);
        fs::create_dir(file("heard")).map_err(io("a directory"))?;
        let mut speech = config.speech.resampled(rate_hz);
        let spoken = speech.samples.len();
        speech
            .samples
            .resize(spoken + SILENCE_S * rate_hz as usize, 0);
        speech
            .write_wav(&file("speech.wav"))
            .map_err(|error| SipProgramError::Io("speech.wav", std::io::Error::other(error)))?;
        write(
            &file("config"),
            &config_file(config, directory.path(), addr, control),
        )?;
        write(&file("accounts"), &account_line(config, addr))?;
        write(&file("contacts"), "")?;
        let mut command = Command::new(PROGRAM.0);
        command.arg("-f").arg(directory.path());
        let mut process = Process::start(PROGRAM, &mut command, file("baresip.log"))?;
        let deadline = Instant::now() + READY_WITHIN;
        let control = process.wait("no control port", deadline, || {
            TcpStream::connect(control).ok()
        })?;
        control
            .set_read_timeout(Some(READ_TIMEOUT))
            .map_err(io("its control port"))?;
        let events = Arc::default();
        let reader = control.try_clone().map_err(io("its control port"))?;
        let kept = Arc::clone(&events);
        std::thread::spawn(move || read_events(reader, &kept));
        Ok(Self {
            process,
            control,
            events,
            addr,
            transport: config.transport,
            user: config.user.clone(),
            directory,
        })
    }

    /// Where it listens; with TLS at the port above.
    pub fn addr(&self) -> SocketAddr {
        match self.transport {
            BaresipTransport::Tls => SocketAddr::new(self.addr.ip(), self.addr.port() + 1),
            _ => self.addr,
        }
    }

    /// Its own URI.
    pub fn uri(&self) -> String {
        format!(
            "sip:{}@{}{}",
            self.user,
            self.addr(),
            self.transport.parameter()
        )
    }

    /// Gives a command of its menu: `dial sip:...`, `hangup`, `hold`, `resume`, `transfer sip:...`, `sndcode 5`.
    ///
    /// # Errors
    /// It is gone.
    pub fn command(&mut self, command: &str) -> Result<(), SipProgramError> {
        let (name, parameters) = command.split_once(' ').unwrap_or((command, ""));
        let order = serde_json::json!({ "command": name, "params": parameters, "token": "test" });
        let order = order.to_string();
        // A netstring: length, colon, text, comma.
        let framed = format!("{}:{order},", order.len());
        self.control
            .write_all(framed.as_bytes())
            .map_err(|error| SipProgramError::Io("an order to baresip", error))
    }

    /// Everything that it told.
    pub fn events(&self) -> Vec<BaresipEvent> {
        self.events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits for an event of this kind: `REGISTER_OK`, `CALL_RINGING`, `CALL_ESTABLISHED`, `CALL_CLOSED`, ...
    ///
    /// # Errors
    /// It did not come in time.
    pub fn wait_for(
        &mut self,
        kind: &str,
        deadline: Instant,
    ) -> Result<BaresipEvent, SipProgramError> {
        let events = Arc::clone(&self.events);
        self.process.wait(kind, deadline, || {
            let events = events.lock().unwrap_or_else(PoisonError::into_inner);
            events.iter().find(|event| event.kind == kind).cloned()
        })
    }

    /// Waits until its registrar said yes. That may have been before its control port was there to tell.
    ///
    /// # Errors
    /// It was not in time.
    pub fn wait_for_registration(&mut self, deadline: Instant) -> Result<(), SipProgramError> {
        let log = self.directory.path().join("baresip.log");
        self.process.wait("no registration", deadline, || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            log.contains(" binding").then_some(())
        })
    }

    /// What it heard in its last call, once that is over.
    ///
    /// # Errors
    /// It has had no call.
    pub fn heard(&self) -> Result<Audio, AudioError> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.directory.path().join("heard"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect();
        files.sort();
        let none = self.directory.path().join("heard");
        Audio::read_wav(files.last().unwrap_or(&none))
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl BaresipTransport {
    fn parameter(self) -> &'static str {
        match self {
            Self::Udp => ";transport=udp",
            Self::Tcp => ";transport=tcp",
            Self::Tls => ";transport=tls",
        }
    }
}

fn config_file(
    config: &BaresipConfig,
    directory: &Path,
    addr: SocketAddr,
    control: SocketAddr,
) -> String {
    let rate_hz = config.codec.clock_rate_hz();
    let directory = directory.display();
    let mut text = format!(
        "poll_method epoll\nsip_listen {addr}\ncall_local_timeout 120\ncall_max_calls 4\n\
         audio_source aufile,{directory}/speech.wav\naudio_player aubridge,nowhere\naudio_alert aubridge,alert\n\
         ausrc_srate {rate_hz}\nausrc_channels 1\nauplay_srate {rate_hz}\nauplay_channels 1\n\
         ctrl_tcp_listen {control}\nsnd_path {directory}/heard\nringback_disabled yes\nmenu_bell no\n\
         jitter_buffer_delay 1-5\nrtcp_mux no\nnet_interface 127.0.0.1\nmodule_path {MODULES}\n"
    );
    let files = [
        ("sip_cafile", &config.ca_file),
        ("sip_certificate", &config.certificate),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            let _ = writeln!(text, "{key} {}", file.display());
        }
    }
    for module in [
        "g711", "opus", "l16", "aufile", "aubridge", "sndfile", "srtp",
    ] {
        let _ = writeln!(text, "module {module}.so");
    }
    text.push_str("module_tmp uuid.so\nmodule_tmp account.so\n");
    text.push_str("module_app menu.so\nmodule_app ctrl_tcp.so\n");
    text
}

fn account_line(config: &BaresipConfig, addr: SocketAddr) -> String {
    let transport = config.transport.parameter();
    let codec = match config.codec {
        AudioCodec::Opus => "opus/48000/2",
        AudioCodec::Pcmu => "PCMU/8000/1",
        AudioCodec::Pcma => "PCMA/8000/1",
        AudioCodec::L16 => "L16/16000/1",
    };
    let host = config
        .account
        .as_ref()
        .map_or(addr, |account| account.proxy);
    let mut line = format!(
        "<sip:{}@{host}{transport}>;audio_codecs={codec}",
        config.user
    );
    match &config.account {
        Some(account) => {
            let _ = write!(
                line,
                ";auth_user={};auth_pass={};regint={};outbound=\"sip:{host}{transport}\"",
                account.username, account.password, account.register_s
            );
        }
        None => line.push_str(";regint=0"),
    }
    line.push_str(match config.encryption {
        MediaEncryption::None => "",
        MediaEncryption::SdesMandatory => ";mediaenc=srtp-mand",
        MediaEncryption::SdesOptional => ";mediaenc=srtp",
    });
    line.push_str(if config.answers {
        ";answermode=auto\n"
    } else {
        ";answermode=manual\n"
    });
    line
}

fn read_events(mut control: TcpStream, events: &Mutex<Vec<BaresipEvent>>) {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match control.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => read.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        while let Some((value, len)) = first_netstring(&read) {
            let kind = value["type"].as_str().unwrap_or_default().to_owned();
            let event = BaresipEvent {
                at: Instant::now(),
                kind,
                value,
            };
            events
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(event);
            read.drain(..len);
        }
    }
}

/// The JSON of the netstring in front, and how long the netstring is.
fn first_netstring(read: &[u8]) -> Option<(Value, usize)> {
    let colon = read.iter().position(|byte| *byte == b':')?;
    let len: usize = std::str::from_utf8(read.get(..colon)?).ok()?.parse().ok()?;
    let text = read.get(colon + 1..colon + 1 + len)?;
    let end = colon + len + 2;
    (read.len() >= end).then(|| (serde_json::from_slice(text).unwrap_or_default(), end))
}
