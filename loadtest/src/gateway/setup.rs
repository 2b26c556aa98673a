//! What a gateway for tests is made of: its binary, its tenants and trunks, free ports, and its own subcommands.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{GatewayError, while_doing};
use crate::random_u16;

/// The environment variable that names the gateway's binary.
pub const GATEWAY_VARIABLE: &str = "CLUTCHCALL_GATEWAY";
/// Tries to find as many neighbouring UDP ports as there are shards.
const PORT_TRIES_MAX: usize = 1_000;

/// One tenant `acme` without allowed origins, and one echo trunk per codec: `echo` (PCMU), `echo-opus`, `echo-same`.
pub const ECHO_TENANT: &str = r#"
[[tenants]]
tenant_id = "acme"
max_calls = 1000
setups_per_s = 1000
[tenants.browser]
origins = ["https://app.example.com"]
[[tenants.routes]]
vendor = "browser"
trunk_id = "echo"

[[trunks]]
trunk_id = "echo"
tenant_id = "acme"
kind = "echo"
codec = "PCMU"
channel_limit = 1000

[[trunks]]
trunk_id = "echo-opus"
tenant_id = "acme"
kind = "echo"
codec = "opus"
channel_limit = 1000

[[trunks]]
trunk_id = "echo-same"
tenant_id = "acme"
kind = "echo"
codec = "same"
channel_limit = 1000
"#;

/// Stands in [`GatewaySetup::tenants_and_trunks`] for the origin of the gateway's own page, whose port is known only at the
/// start.
pub const PAGE_ORIGIN: &str = "https://page.invalid";

/// What kind of gateway is wanted.
#[derive(Debug, Clone)]
pub struct GatewaySetup {
    /// The binary; none: [`GATEWAY_VARIABLE`], else beside the running program.
    pub binary: Option<PathBuf>,
    /// One shard per entry.
    pub cores: Vec<usize>,
    /// Further lines of `[server]`.
    pub server_lines: String,
    /// All lines of `[webrtc]`.
    pub webrtc_lines: String,
    /// Tenants and trunks, as they stand in `gateway.toml`; [`PAGE_ORIGIN`] in them becomes the origin of the gateway's own
    /// page.
    pub tenants_and_trunks: String,
    /// Further lines of `shards.toml`.
    pub shards_lines: String,
    /// Names for the certificate besides localhost, 127.0.0.1 and ::1.
    pub names: Vec<String>,
    /// Environment of the process, such as fault injection.
    pub environment: Vec<(String, String)>,
}

impl GatewaySetup {
    /// One shard on core 0 that tells IPv4 loopback as its media address, with these tenants and trunks ([`ECHO_TENANT`]).
    pub fn new(tenants_and_trunks: &str) -> Self {
        Self {
            binary: None,
            cores: vec![0],
            server_lines: String::new(),
            webrtc_lines: "advertised_ips = [\"127.0.0.1\"]\n".to_owned(),
            tenants_and_trunks: tenants_and_trunks.to_owned(),
            shards_lines: String::new(),
            names: Vec::new(),
            environment: Vec::new(),
        }
    }
}

pub(super) fn find_binary() -> Result<PathBuf, GatewayError> {
    if let Some(path) = std::env::var_os(GATEWAY_VARIABLE) {
        return Ok(path.into());
    }
    // Test programs stand in `deps/`, one below the binaries.
    let program = std::env::current_exe().map_err(while_doing("the program's own path"))?;
    let beside = program
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("clutchcall-gateway"));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let missing = io::Error::new(
                io::ErrorKind::NotFound,
                format!("build it, or set {GATEWAY_VARIABLE}"),
            );
            while_doing("clutchcall-gateway")(missing)
        })
}

/// Runs a subcommand to its end; its standard output.
pub(super) fn run<A: AsRef<OsStr>>(binary: &Path, arguments: &[A]) -> Result<String, GatewayError> {
    let output = Command::new(binary)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(while_doing("running clutchcall-gateway"))?;
    if !output.status.success() {
        let command = arguments
            .first()
            .map(|command| command.as_ref().to_string_lossy().into_owned());
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(GatewayError::Command {
            command: command.unwrap_or_default(),
            stderr,
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file that only its owner reads: one of them is a secret.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}

pub(super) fn free_tcp_port() -> Result<u16, GatewayError> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener
        .map(|address| address.port())
        .map_err(while_doing("a free TCP port"))
}

/// The first of `count` neighbouring UDP ports that are free now, below the trunks' default range.
pub(super) fn free_udp_ports(count: usize) -> Result<u16, GatewayError> {
    for _ in 0..PORT_TRIES_MAX {
        let base = 10_000 + random_u16() % 6_000;
        let free = (base..)
            .take(count)
            .all(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok());
        if free {
            return Ok(base);
        }
    }
    Err(while_doing("free UDP ports")(
        io::ErrorKind::AddrInUse.into(),
    ))
}
