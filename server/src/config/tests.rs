//! What an operator notices: every mistake with its place and what is allowed, and what a good file means.
//!
//! Here: the fixture and the top level of `gateway.toml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod both_files;
mod ice_servers;
mod inbound;
mod shards_keys;
mod sip_trunks;
mod tenants_and_trunks;
mod twilio;
mod vapi;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::report::Report;
use super::*;

/// A directory with a key file of each kind.
struct Files {
    directory: TempDir,
}

const SERVER: &str = "[server]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n";

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Self { directory };
        let tls_key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .self_signed(&tls_key);
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        files.write("cert.pem", &certificate.unwrap().pem());
        files.write("key.pem", &tls_key.serialize_pem());
        files.write(
            "other-key.pem",
            &rcgen::KeyPair::generate().unwrap().serialize_pem(),
        );
        files.write("token-key.pem", &ed25519.serialize_pem());
        files.write("ed25519.pub.pem", &ed25519.public_key_pem());
        files.write("es256.pub.pem", &tls_key.public_key_pem());
        files.write("admin-token", "0123456789abcdef\n");
        files.write("empty", "");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, text: &str) -> Result<(GatewayConfig, Report), ConfigError> {
        self.write("gateway.toml", text);
        let environment = |name: &str| match name {
            "ADMIN" => Some("fedcba9876543210".to_owned()),
            "SHORT" => Some("short".to_owned()),
            "LINES" => Some("two\nlines".to_owned()),
            _ => None,
        };
        gateway_file::read(&self.path("gateway.toml"), &environment)
    }

    /// The problems of a file, without the directory in front.
    #[track_caller]
    fn problems(&self, text: &str) -> Vec<String> {
        let Err(error) = self.read(text) else {
            panic!("accepted:\n{text}")
        };
        self.lines(&error.to_string())
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        text.replace(&directory, "")
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[track_caller]
    fn assert_refused(&self, after_server: &str, problem: &str) {
        assert_eq!(
            self.problems(&format!("{SERVER}{after_server}")),
            [problem],
            "{after_server}"
        );
    }
}

const TENANT_AND_TRUNK: &str = r#"
[[tenants]]
tenant_id = "acme"
[tenants.browser]
origins = ["https://app.example.com", "http://localhost:8080"]
[[tenants.browser.keys]]
kid = "k1"
alg = "EdDSA"
public_key_file = "ed25519.pub.pem"
[[tenants.routes]]
vendor = "browser"
trunk_id = "echo"
to = "+15550100"
[[trunks]]
trunk_id = "echo"
tenant_id = "acme"
kind = "echo"
"#;

#[test]
fn a_small_file_has_the_documented_defaults() {
    let (config, report) = Files::new()
        .read(&format!("{SERVER}{TENANT_AND_TRUNK}"))
        .unwrap();
    assert_eq!(config.server.listen, ["[::]:7443".parse().unwrap()]);
    assert_eq!(config.server.public_url, "wss://localhost:7443");
    assert_eq!(
        (config.server.drain_timeout_s, config.server.signal_grace_ms),
        (30, 15_000)
    );
    assert!(!config.server.demo_page);
    assert_eq!(config.admin.listen, "127.0.0.1:7444".parse().unwrap());
    assert_eq!(config.admin.token, None);
    assert_eq!(
        config.webrtc.codecs,
        [CodecName::Opus, CodecName::Pcmu, CodecName::Pcma]
    );
    assert_eq!(config.webrtc.dtls, DtlsVersions::Auto);
    let tenant = &config.tenants[&"acme".parse().unwrap()];
    assert_eq!((tenant.max_calls, tenant.setups_per_s), (100, 20));
    assert_eq!(
        tenant.browser.as_ref().unwrap().keys[0]
            .public_key
            .algorithm(),
        KeyAlgorithm::EdDsa
    );
    assert_eq!(tenant.routes[0].to.as_deref(), Some("+15550100"));
    let trunk = &config.trunks[&"echo".parse().unwrap()];
    assert_eq!(trunk.kind, TrunkKind::Echo(EchoCodec::Pcmu));
    assert_eq!(
        (
            trunk.channel_limit,
            trunk.no_media_timeout_s,
            trunk.reorder_wait_ms
        ),
        (50, 60, 20)
    );
    assert_eq!(report.warnings.0.len(), 1, "{}", report.warnings);
    assert!(
        report
            .warnings
            .to_string()
            .ends_with("every request to the admin window is refused")
    );
}

#[test]
fn an_rtp_trunk_has_the_published_ports_and_codecs() {
    let trunk = "[[trunks]]\ntrunk_id = \"r\"\ntenant_id = \"acme\"\nkind = \"rtp\"\nremote = \"[2001:db8::1]:4000\"\n";
    let (config, _) = Files::new()
        .read(&format!("{SERVER}{TENANT_AND_TRUNK}{trunk}"))
        .unwrap();
    let trunk = &config.trunks[&"r".parse().unwrap()];
    assert_eq!((trunk.rtp_start_port, trunk.rtp_end_port), (16_384, 32_767));
    assert_eq!(
        trunk.codec_preferences,
        [CodecName::Pcmu, CodecName::Pcma, CodecName::Opus]
    );
    let remote = "[2001:db8::1]:4000".parse().unwrap();
    assert_eq!(
        trunk.kind,
        TrunkKind::Rtp {
            remote,
            rtcp_mux: false
        }
    );
}

#[test]
fn paths_count_from_the_file_and_secrets_from_file_or_environment() {
    let files = Files::new();
    let (config, report) = files
        .read(&format!(
            "{SERVER}token_key_file = \"token-key.pem\"\n[admin]\ntoken_file = \"admin-token\"\n"
        ))
        .unwrap();
    assert_eq!(config.server.cert_file, files.path("cert.pem"));
    assert_eq!(config.admin.token, Some(Secret::new("0123456789abcdef")));
    assert!(!format!("{config:?}{}", report.effective).contains("0123456789abcdef"));

    let (config, _) = files
        .read(&format!("{SERVER}[admin]\ntoken = \"env:ADMIN\"\n"))
        .unwrap();
    assert_eq!(config.admin.token, Some(Secret::new("fedcba9876543210")));
}

#[test]
fn secrets_are_refused_where_they_are_written_out_missing_or_short() {
    let files = Files::new();
    files.write("short", "short");
    let allowed = "allowed: one line of 16 to 4096 visible ASCII characters";
    for (line, problem) in [
        (
            "token = \"hunter2\"",
            "gateway.toml:5:9: admin.token: a secret is never written here; allowed: token_file = \"PATH\", or \
             token = \"env:NAME\" for the environment variable NAME"
                .to_owned(),
        ),
        ("token = \"env:NONE\"", "gateway.toml:5:9: admin.token: the environment variable NONE is not set".to_owned()),
        (
            "token = \"env:SHORT\"",
            format!("gateway.toml:5:9: admin.token: the environment variable SHORT holds no secret; {allowed}"),
        ),
        ("token_file = \"short\"", format!("gateway.toml:5:14: admin.token_file: short holds no secret; {allowed}")),
        (
            "token_file = \"nowhere\"",
            "gateway.toml:5:14: admin.token_file: nowhere: No such file or directory (os error 2)".to_owned(),
        ),
        (
            "token_file = \"admin-token\"\ntoken = \"env:ADMIN\"",
            "gateway.toml:6:9: admin.token: is given twice; allowed: one of token and token_file".to_owned(),
        ),
    ] {
        files.assert_refused(&format!("[admin]\n{line}\n"), &problem);
    }
}

#[test]
fn a_key_file_that_everybody_reads_is_worth_a_warning() {
    let files = Files::new();
    fs::set_permissions(files.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let (_, report) = files.read(SERVER).unwrap();
    let warnings = files.lines(&report.warnings.to_string());
    assert_eq!(
        warnings[0],
        "gateway.toml:3:12: server.key_file: every user of this machine can read key.pem"
    );
}

#[test]
fn unknown_keys_are_refused_with_a_guess() {
    let files = Files::new();
    files.assert_refused(
        "drain_timeout = 3\n",
        "gateway.toml:4:1: server.drain_timeout: unknown key; did you mean \"drain_timeout_s\"?",
    );
    files.assert_refused(
        "[webrtc]\nicecream = true\n",
        "gateway.toml:5:1: webrtc.icecream: unknown key; allowed: advertised_ips, ice_servers, dtls, codecs, \
         opus_bitrate_min_bps, opus_bitrate_max_bps, opus_complexity_max, opus_voice_activity_gate",
    );
    files.assert_refused(
        "[sever]\n",
        "gateway.toml:4:2: sever: unknown key; did you mean \"server\"?",
    );
}

#[test]
fn the_floor_of_opus_is_not_above_its_ceiling() {
    Files::new().assert_refused(
        "[webrtc]\nopus_bitrate_min_bps = 24000\nopus_bitrate_max_bps = 16000\n",
        "gateway.toml:5:24: webrtc.opus_bitrate_min_bps: is above opus_bitrate_max_bps, which is 16000",
    );
}

/// At the knees of the rates and with the gate, unless the operator says otherwise.
#[test]
fn complexity_and_gate_of_opus_are_the_operators() {
    let files = Files::new();
    for (line, complexity) in [
        ("", None),
        ("opus_complexity_max = 0", Some(0)),
        ("opus_complexity_max = 10", Some(10)),
    ] {
        let (config, _) = files.read(&format!("{SERVER}[webrtc]\n{line}\n")).unwrap();
        assert_eq!(config.webrtc.opus.complexity_max, complexity);
    }
    for (line, gate) in [("", true), ("opus_voice_activity_gate = false", false)] {
        let (config, _) = files.read(&format!("{SERVER}[webrtc]\n{line}\n")).unwrap();
        assert_eq!(config.webrtc.opus.voice_activity_gate, gate);
    }
    files.assert_refused(
        "[webrtc]\nopus_complexity_max = 11\n",
        "gateway.toml:5:23: webrtc.opus_complexity_max: 11 is out of range; allowed: a whole number from 0 to 10",
    );
}

#[test]
fn values_out_of_type_or_range_say_what_is_allowed() {
    let files = Files::new();
    for (line, problem) in [
        (
            "drain_timeout_s = -1",
            "gateway.toml:4:19: server.drain_timeout_s: -1 is out of range; allowed: a whole number from 0 to 86400",
        ),
        (
            "drain_timeout_s = 99999999999999999999",
            "gateway.toml:4:19: server.drain_timeout_s: 99999999999999999999 is out of range; allowed: a whole \
             number from 0 to 86400",
        ),
        (
            "drain_timeout_s = \"30\"",
            "gateway.toml:4:19: server.drain_timeout_s: is a text; allowed: a whole number from 0 to 86400",
        ),
        (
            "demo_page = 1",
            "gateway.toml:4:13: server.demo_page: is a whole number; allowed: true or false",
        ),
        (
            "listen = \"[::]:7443\"",
            "gateway.toml:4:10: server.listen: is a text; allowed: a list of texts",
        ),
        (
            "listen = [\"localhost\"]",
            "gateway.toml:4:11: server.listen: \"localhost\" is not allowed; allowed: an address with port, as \
             0.0.0.0:7443 or [::]:7443",
        ),
        (
            "public_url = \"https://gw.example.com\"",
            "gateway.toml:4:14: server.public_url: \"https://gw.example.com\" is not allowed; allowed: \
             wss://HOST[:PORT] without a path",
        ),
        (
            "[webrtc]\ncodecs = [\"opus\", \"L16\"]",
            "gateway.toml:5:19: webrtc.codecs: \"L16\" is not allowed; allowed: \"opus\", \"PCMU\", \"PCMA\"",
        ),
        (
            "[webrtc]\ndtls = \"1.0\"",
            "gateway.toml:5:8: webrtc.dtls: \"1.0\" is not allowed; allowed: \"auto\", \"1.2\", \"1.3\"",
        ),
        (
            "[webrtc]\nadvertised_ips = [\"0.0.0.0\"]",
            "gateway.toml:5:19: webrtc.advertised_ips: \"0.0.0.0\" is not allowed; allowed: IPv4 or IPv6 addresses \
             that callers reach",
        ),
    ] {
        files.assert_refused(&format!("{line}\n"), problem);
    }
}

#[test]
fn an_empty_list_where_one_is_needed_is_refused() {
    let files = Files::new();
    files.assert_refused(
        "listen = []\n",
        "gateway.toml:4:10: server.listen: names no address; allowed: at least one",
    );
    files.assert_refused(
        "[webrtc]\ncodecs = [\"opus\", \"PCMU\", \"OPUS\"]\n",
        "gateway.toml:5:10: webrtc.codecs: names a codec twice",
    );
}

#[test]
fn tls_and_token_keys_must_be_what_they_should() {
    let files = Files::new();
    let problems =
        files.problems("[server]\ncert_file = \"cert.pem\"\nkey_file = \"other-key.pem\"\n");
    assert!(
        problems[0].starts_with("gateway.toml:3:12: server.key_file: other-key.pem: "),
        "{problems:?}"
    );
    let problems = files.problems("[server]\ncert_file = \"empty\"\nkey_file = \"key.pem\"\n");
    assert!(
        problems[0].starts_with("gateway.toml:2:13: server.cert_file: empty: "),
        "{problems:?}"
    );
    files.assert_refused(
        "token_key_file = \"key.pem\"\n",
        "gateway.toml:4:18: server.token_key_file: key.pem holds no Ed25519 private key; allowed: PEM \"PRIVATE KEY\" \
         (PKCS#8)",
    );
    let missing = files.problems("");
    assert_eq!(
        missing,
        [
            "gateway.toml: server.cert_file: is missing",
            "gateway.toml: server.key_file: is missing"
        ]
    );
}

#[test]
fn broken_toml_is_told_with_its_place() {
    let files = Files::new();
    let problems = files.problems("[server\n");
    assert!(
        problems[0].starts_with("gateway.toml:1:8: "),
        "{problems:?}"
    );
    let problems = files.problems(&format!("{SERVER}cert_file = \"again\"\n"));
    assert!(
        problems[0].starts_with("gateway.toml:4:1: "),
        "{problems:?}"
    );
    assert!(problems[0].contains("duplicate key"), "{problems:?}");
    fs::write(files.path("latin1.toml"), b"[server]\n# \xe4\n").unwrap();
    let error = GatewayConfig::load(&files.path("latin1.toml")).unwrap_err();
    assert!(error.to_string().contains("utf-8"), "{error}");
    let error = GatewayConfig::load(&files.path("nowhere.toml")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("nowhere.toml: No such file or directory (os error 2)"),
        "{error}"
    );
}

#[test]
fn every_problem_is_told_at_once_in_the_files_order() {
    let problems = Files::new().problems(
        "[server]\ncert_file = \"cert.pem\"\nlisten = [\"x\"]\nkey_file = \"key.pem\"\n[[trunks]]\nkind = \"echo\"\n",
    );
    let places: Vec<&str> = problems
        .iter()
        .filter_map(|problem| problem.split(": ").nth(1))
        .collect();
    assert_eq!(
        places,
        ["server.listen", "trunks[0].trunk_id", "trunks[0].tenant_id"],
        "{problems:?}"
    );
}

#[test]
fn effective_values_say_where_they_came_from() {
    let files = Files::new();
    let (_, report) = files
        .read(&format!("{SERVER}drain_timeout_s = 5\n{TENANT_AND_TRUNK}"))
        .unwrap();
    let shown = files.lines(&report.effective.to_string());
    for line in [
        "server.listen = [\"[::]:7443\"]  # default",
        "server.cert_file = \"cert.pem\"  # gateway.toml:2",
        "server.drain_timeout_s = 5  # gateway.toml:4",
        "webrtc.codecs = [\"opus\", \"PCMU\", \"PCMA\"]  # default",
        "tenants[0].max_calls = 100  # default",
        "trunks[0].kind = \"echo\"  # gateway.toml:21",
        "trunks[0].codec = \"PCMU\"  # default",
    ] {
        assert!(
            shown.iter().any(|told| told == line),
            "{line} is not in {shown:#?}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let document = document::Document::from_text(Path::new("x.toml"), text);
        let _ = document.parse();
    }

    /// Values of any type at any place are refused or taken, never a panic.
    #[test]
    fn no_value_panics(
        table in prop::sample::select(vec!["server", "admin", "webrtc", "tenants", "trunks", "x"]),
        key in prop::sample::select(vec!["listen", "codecs", "tenant_id", "browser", "routes", "kind", "remote"]),
        value in prop::sample::select(vec!["1", "-1", "\"\"", "\"x\"", "[]", "[[]]", "{}", "true", "1979-05-27", "1.5"]),
        list in any::<bool>(),
    ) {
        let header = if list { format!("[[{table}]]") } else { format!("[{table}]") };
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("gateway.toml");
        fs::write(&path, format!("{header}\n{key} = {value}\n")).unwrap();
        prop_assert!(GatewayConfig::load(&path).is_err());
        fs::write(&path, format!("{key} = {value}\n{header}\n")).unwrap();
        prop_assert!(shards_file::read(Some(&path), &[0]).is_err());
    }
}
