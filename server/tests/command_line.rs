//! The command line as an operator uses it: what it prints, where, and with which exit code.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use server::auth::{GatewayKey, verify};
use tempfile::TempDir;

const GATEWAY_TOML: &str = r#"
[server]
cert_file = "cert.pem"
key_file = "key.pem"
token_key_file = "token-key.pem"

[[tenants]]
tenant_id = "acme"
[tenants.browser]
origins = ["https://app.example.com"]
[[tenants.routes]]
vendor = "browser"
trunk_id = "echo"

[[trunks]]
trunk_id = "echo"
tenant_id = "acme"
kind = "echo"
"#;

const KEYGEN: [&str; 7] = [
    "keygen",
    "--tls-cert",
    "cert.pem",
    "--tls-key",
    "key.pem",
    "--token-key",
    "token-key.pem",
];

fn gateway(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_clutchcall-gateway"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// Standard output of a command that succeeds.
#[track_caller]
fn succeeds(directory: &Path, arguments: &[&str]) -> String {
    let output = gateway(directory, arguments);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that fails with this code.
#[track_caller]
fn fails(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = gateway(directory, arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(
        output.stdout.is_empty(),
        "a failure prints nothing to stdout"
    );
    error
}

/// A directory with gateway.toml and the files that `keygen` makes.
fn house() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("gateway.toml"), GATEWAY_TOML).unwrap();
    succeeds(directory.path(), &KEYGEN);
    directory
}

#[test]
fn keygen_makes_private_files_and_keeps_those_that_exist() {
    let directory = house();
    let path = |name: &str| directory.path().join(name);
    for name in ["cert.pem", "key.pem", "token-key.pem"] {
        assert_eq!(
            fs::metadata(path(name)).unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
    }
    let before = fs::read(path("key.pem")).unwrap();
    fs::remove_file(path("token-key.pem")).unwrap();
    let error = fails(directory.path(), &KEYGEN, 1);
    assert_eq!(error, "cert.pem exists; --force overwrites it\n");
    assert_eq!(fs::read(path("key.pem")).unwrap(), before);
    assert!(
        !path("token-key.pem").exists(),
        "nothing is written beside a refusal"
    );
    let forced: Vec<&str> = KEYGEN.into_iter().chain(["--force"]).collect();
    succeeds(directory.path(), &forced);
    assert_ne!(fs::read(path("key.pem")).unwrap(), before);
}

#[test]
fn the_certificate_serves_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let named: Vec<&str> = KEYGEN
        .into_iter()
        .chain(["--name", "gw.lan", "--name", "192.0.2.7"])
        .collect();
    succeeds(directory.path(), &named);
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    let server = shards::tls::server_config(&read("cert.pem"), &read("key.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&read("cert.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    for (name, accepted) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("gw.lan", true),
        ("192.0.2.7", true),
        ("evil.test", false),
    ] {
        let server_name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(client.clone(), server_name).unwrap();
        let mut server = ServerConnection::new(server.clone()).unwrap();
        assert_eq!(
            handshake(&mut client, &mut server).is_ok(),
            accepted,
            "{name}"
        );
    }
}

fn handshake(
    client: &mut ClientConnection,
    server: &mut ServerConnection,
) -> Result<(), rustls::Error> {
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        client.write_tls(&mut flight).unwrap();
        server.read_tls(&mut flight.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut flight = Vec::new();
        server.write_tls(&mut flight).unwrap();
        client.read_tls(&mut flight.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_token_opens_a_session() {
    let directory = house();
    let token = succeeds(
        directory.path(),
        &[
            "token",
            "--config",
            "gateway.toml",
            "--tenant",
            "acme",
            "--origin",
            "https://app.example.com",
            "--ttl-s",
            "60",
        ],
    );
    let key =
        GatewayKey::from_pem(&fs::read(directory.path().join("token-key.pem")).unwrap()).unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let tenant_id = "acme".parse().unwrap();
    let grant = verify(
        token.trim_end(),
        now,
        &tenant_id,
        Some("https://app.example.com"),
        &[],
        Some(&key),
    )
    .unwrap();
    assert!(grant.allows("call.dial"));
    assert_eq!(grant.subject, "operator");
    assert!((now + 50..=now + 61).contains(&grant.expires_unix_s));
    let again = succeeds(
        directory.path(),
        &["token", "--config", "gateway.toml", "--tenant", "acme"],
    );
    assert_ne!(token, again, "each token has a jti of its own");
}

#[test]
fn a_token_that_would_not_work_is_not_made() {
    let directory = house();
    let token = |arguments: &[&str], code: i32| {
        let all: Vec<&str> = ["token", "--config", "gateway.toml"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        fails(directory.path(), &all, code)
    };
    assert_eq!(
        token(&["--tenant", "umbrella"], 2),
        "gateway.toml: there is no tenant \"umbrella\"\n"
    );
    assert!(token(&["--tenant", "a/b"], 1).contains("an id is 1 to 64 characters"));
    assert!(token(&["--tenant", "acme", "--ttl-s", "301"], 1).contains("301 is not in 1..=300"));
    let without_key = GATEWAY_TOML.replace("token_key_file = \"token-key.pem\"\n", "");
    fs::write(directory.path().join("gateway.toml"), without_key).unwrap();
    assert!(token(&["--tenant", "acme"], 2).contains("server.token_key_file is not set"));
}

#[test]
fn check_tells_the_verdict_and_the_effective_values() {
    let directory = house();
    let verdict = succeeds(directory.path(), &["check", "--config", "gateway.toml"]);
    assert!(
        verdict.starts_with("gateway.toml: ok: 1 tenant, 1 trunk, "),
        "{verdict}"
    );
    let printed = succeeds(
        directory.path(),
        &["check", "--config", "gateway.toml", "--print"],
    );
    for line in [
        "server.cert_file = \"cert.pem\"  # gateway.toml:3",
        "tenants[0].max_calls = 100  # default",
        "webrtc_udp_port_base = 10000  # default",
    ] {
        assert!(
            printed.lines().any(|told| told == line),
            "{line} is not in\n{printed}"
        );
    }
}

#[test]
fn a_refused_configuration_is_exit_code_2_with_the_place() {
    let directory = house();
    fs::write(
        directory.path().join("gateway.toml"),
        GATEWAY_TOML.replace("kind =", "kid ="),
    )
    .unwrap();
    for command in ["check", "serve"] {
        let error = fails(directory.path(), &[command, "--config", "gateway.toml"], 2);
        assert!(
            error.contains("gateway.toml:18:1: trunks[0].kid: unknown key; did you mean \"kind\"?"),
            "{error}"
        );
    }
    let error = fails(directory.path(), &["check", "--config", "nowhere.toml"], 2);
    assert_eq!(
        error,
        "nowhere.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn shard_of_prints_the_owners() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(
        directory.path().join("shards.toml"),
        "cores = [0, 1, 2, 3, 4, 5, 6, 7]\n[spread]\nacme = 3\n",
    )
    .unwrap();
    // The values are those of the golden vectors of `shards::owner`.
    assert_eq!(
        succeeds(
            directory.path(),
            &["shard-of", "--shards", "shards.toml", "acme"]
        ),
        "3 6 2\n"
    );
    assert_eq!(
        succeeds(
            directory.path(),
            &["shard-of", "--shards", "shards.toml", "t1"]
        ),
        "7\n"
    );
}

#[test]
fn usage_errors_are_exit_code_1_and_help_is_0() {
    let directory = tempfile::tempdir().unwrap();
    assert!(fails(directory.path(), &["bogus"], 1).contains("unrecognized subcommand"));
    assert!(fails(directory.path(), &["serve"], 1).contains("--config"));
    let help = succeeds(directory.path(), &["--help"]);
    assert!(
        help.contains("clutchcall-gateway keygen --tls-cert"),
        "{help}"
    );
    assert!(succeeds(directory.path(), &["--version"]).starts_with("clutchcall-gateway "));
}
