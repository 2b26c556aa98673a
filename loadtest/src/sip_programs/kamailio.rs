//! Kamailio as what stands in front of a carrier: UDP, TCP and TLS, Record-Route, digest, a registrar.
//!
//! It has an inside (the far end) and an outside (everybody else, as the gateway). Calls from the inside go to who is
//! registered under their user, else to `outside`; all others go to `inside`.

use std::fmt::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::SipProgramError;
use super::process::{Process, directory, free_addr, write};

const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long one answer may take before it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_millis(200);
/// Tries to start before a lost race for the port is an error.
const START_TRIES_MAX: u32 = 3;
const PROGRAM: (&str, &str) = ("kamailio", "kamailio kamailio-tls-modules");

/// How it runs.
#[derive(Debug, Clone)]
pub struct KamailioConfig {
    /// The far end, by UDP.
    pub inside: SocketAddr,
    /// Where calls from the inside go whose user is not registered, as `sip:127.0.0.1:5060;transport=tls`.
    pub outside: Option<String>,
    /// Listens with TLS too, at the port above.
    pub tls: Option<KamailioTls>,
    /// Asks calls and registrations from the outside for a digest.
    pub user: Option<KamailioUser>,
}

/// Its certificate.
#[derive(Debug, Clone)]
pub struct KamailioTls {
    /// PEM.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// Who signs the certificates of those it calls; none: anybody.
    pub ca_file: Option<PathBuf>,
}

/// Who may call.
#[derive(Debug, Clone)]
pub struct KamailioUser {
    /// The realm of the challenge.
    pub realm: String,
    /// His name.
    pub username: String,
    /// His password.
    pub password: String,
    /// SHA-256, not MD5.
    pub sha256: bool,
}

/// A running Kamailio. Dropping it ends its processes.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    addr: SocketAddr,
    _directory: TempDir,
}

impl Kamailio {
    /// Starts it, and waits until it answers OPTIONS.
    ///
    /// # Errors
    /// It is not installed, or does not answer.
    pub fn start(config: &KamailioConfig) -> Result<Self, SipProgramError> {
        let mut tries = 1;
        loop {
            match Self::try_start(config) {
                // The ports were free when they were looked for: another may have been faster.
                Err(SipProgramError::NotInTime { .. }) if tries < START_TRIES_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }

    fn try_start(config: &KamailioConfig) -> Result<Self, SipProgramError> {
        let directory = directory()?;
        let addr = free_addr()?;
        let file = |name: &str| directory.path().join(name);
        let tls_file = file("tls.cfg");
        write(&file("kamailio.cfg"), &script(config, addr, &tls_file))?;
        if let Some(tls) = &config.tls {
            write(&tls_file, &tls_config(tls))?;
        }
        let mut command = Command::new(PROGRAM.0);
        command
            .arg("-f")
            .arg(file("kamailio.cfg"))
            .args(["-DD", "-E", "-m", "32", "-M", "4"])
            .arg("-P")
            .arg(file("kamailio.pid"))
            .arg("-Y")
            .arg(directory.path());
        let mut process = Process::start(PROGRAM, &mut command, file("kamailio.log"))?;
        let io = |error| SipProgramError::Io("asking Kamailio", error);
        let socket = UdpSocket::bind((addr.ip(), 0)).map_err(io)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN)).map_err(io)?;
        let options = options(addr, socket.local_addr().map_err(io)?);
        process.wait("no answer", Instant::now() + READY_WITHIN, || {
            // Nobody listens yet: told by the next receive, as a refused connection.
            let _ = socket.send_to(options.as_bytes(), addr);
            let mut answer = [0; 2000];
            let len = socket.recv(&mut answer).unwrap_or(0);
            answer[..len].starts_with(b"SIP/2.0 200").then_some(())
        })?;
        Ok(Self {
            process,
            addr,
            _directory: directory,
        })
    }

    /// Where it listens, UDP and TCP.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens with TLS.
    pub fn tls_addr(&self) -> SocketAddr {
        SocketAddr::new(self.addr.ip(), self.addr.port() + 1)
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn options(to: SocketAddr, from: SocketAddr) -> String {
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKready\r\nMax-Forwards: 70\r\n\
         From: <sip:test@{from}>;tag=1\r\nTo: <sip:{to}>\r\nCall-ID: ready-{}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        from.port()
    )
}

fn tls_config(tls: &KamailioTls) -> String {
    let mut text = format!(
        "[server:default]\nmethod = TLSv1.2+\nverify_certificate = no\nrequire_certificate = no\n\
         private_key = {key}\ncertificate = {certificate}\n\n[client:default]\nmethod = TLSv1.2+\n",
        key = tls.key.display(),
        certificate = tls.certificate.display(),
    );
    let _ = match &tls.ca_file {
        Some(file) => writeln!(
            text,
            "verify_certificate = yes\nrequire_certificate = yes\nca_list = {}",
            file.display()
        ),
        None => writeln!(text, "verify_certificate = no\nrequire_certificate = no"),
    };
    text
}

fn script(config: &KamailioConfig, addr: SocketAddr, tls_file: &std::path::Path) -> String {
    let mut text = format!(
        "#!KAMAILIO\ndebug=2\nlog_stderror=yes\nfork=yes\nchildren=2\ntcp_children=2\nauto_aliases=no\ndns=no\nrev_dns=no\n\
         server_signature=no\ntcp_connection_lifetime=3605\nlisten=udp:{addr}\nlisten=tcp:{addr}\n"
    );
    if config.tls.is_some() {
        let _ = writeln!(
            text,
            "enable_tls=yes\nlisten=tls:{}:{}",
            addr.ip(),
            addr.port() + 1
        );
    }
    for module in [
        "tm",
        "tmx",
        "sl",
        "rr",
        "pv",
        "maxfwd",
        "usrloc",
        "registrar",
        "textops",
        "siputils",
        "auth",
        "xlog",
        "kex",
    ] {
        let _ = writeln!(text, "loadmodule \"{module}.so\"");
    }
    if config.tls.is_some() {
        let _ = writeln!(
            text,
            "loadmodule \"tls.so\"\nmodparam(\"tls\", \"config\", \"{}\")",
            tls_file.display()
        );
    }
    let is_sha256 = config.user.as_ref().is_some_and(|user| user.sha256);
    if is_sha256 {
        text.push_str("modparam(\"auth\", \"algorithm\", \"SHA-256\")\n");
    }
    text.push_str(
        "modparam(\"usrloc\", \"db_mode\", 0)\nmodparam(\"rr\", \"enable_full_lr\", 1)\n\
         modparam(\"registrar\", \"min_expires\", 1)\n",
    );
    text.push_str(&routes(config));
    text
}

fn routes(config: &KamailioConfig) -> String {
    let inside = config.inside;
    let outside = match &config.outside {
        Some(uri) => format!("$du = \"{uri}\";"),
        None => "sl_send_reply(\"404\", \"Not Found\"); exit;".to_owned(),
    };
    let (ask_call, ask_registration) = match &config.user {
        None => (String::new(), String::new()),
        Some(user) => {
            let check = |name: &str, ask: &str| {
                format!(
                    "if ($au != \"{}\" || !pv_{name}_authenticate(\"{}\", \"{}\", \"0\")) {{ {ask}_challenge(\"{}\", \"1\"); exit; }}\n  \
                     consume_credentials();",
                    user.username, user.realm, user.password, user.realm
                )
            };
            (check("proxy", "proxy"), check("www", "www"))
        }
    };
    format!(
        r#"
request_route {{
  if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
  if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
  if (has_totag()) {{
    if (loose_route()) {{ t_relay(); exit; }}
    if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    sl_send_reply("404", "Not Here");
    exit;
  }}
  t_check_trans();
  if (is_method("REGISTER")) {{
    {ask_registration}
    if (!save("location")) {{ sl_reply_error(); }}
    exit;
  }}
  if ($si == "{inside_ip}" && $sp == {inside_port}) {{
    if (!is_method("REGISTER")) {{ record_route(); }}
    if (!lookup("location")) {{ {outside} }}
    t_relay();
    exit;
  }}
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "Here"); exit; }}
  {ask_call}
  record_route();
  $du = "sip:{inside}";
  t_relay();
}}
"#,
        inside_ip = inside.ip(),
        inside_port = inside.port(),
    )
}
