//! `[[trunks]]` of kind "sip": the published object, what it refuses, and trunks beside each other.

use super::*;

const SIP: &str = "[[trunks]]\ntrunk_id = \"carrier\"\ntenant_id = \"acme\"\nkind = \"sip\"\ngateway_ip = \"192.0.2.20\"\n";

fn files() -> Files {
    let files = Files::new();
    files.write("password", "s3 cret\n");
    files.write("hello.wav", "RIFF....WAVEfmt ");
    files.write("short.wav", "RIFF");
    files
}

/// The good file with a SIP trunk.
fn with_sip(more: &str) -> String {
    format!("{SERVER}{TENANT_AND_TRUNK}{SIP}{more}")
}

#[track_caller]
fn sip_trunk(files: &Files, more: &str) -> (TrunkConfig, SipTrunkConfig, Report) {
    let (config, report) = files.read(&with_sip(more)).unwrap();
    let trunk = &config.trunks[&"carrier".parse().unwrap()];
    let TrunkKind::Sip(sip) = &trunk.kind else {
        panic!("{:?}", trunk.kind)
    };
    (
        TrunkConfig::clone(trunk),
        SipTrunkConfig::clone(sip),
        report,
    )
}

#[test]
fn a_small_sip_trunk_has_the_published_defaults() {
    let (trunk, sip, report) = sip_trunk(&files(), "");
    assert_eq!(
        sip,
        SipTrunkConfig {
            transport: SipTransport::Udp,
            internal_sip_ip: None,
            external_sip_ip: None,
            source_pbx_port: 5060,
            gateway_host: "192.0.2.20".to_owned(),
            sbc_hosts: Vec::new(),
            destination_port: None,
            display_name: None,
            domain: None,
            proxy: None,
            credentials: None,
            require_registration: false,
            register_expires_s: 3600,
            media_ip_cidrs: Vec::new(),
            reject_incoming_calls: true,
            reject_sip_code: 603,
            reject_audio_file: None,
            ignore_early_media: false,
            terminate_on_hold: false,
            inbound_rule: InboundRule::Reject,
            inbound_audio_file: None,
            inbound_webhook_url: None,
            agent: None,
            dtmf: DtmfMethod::Auto,
            srtp: false,
            tls_ca_file: None,
            options_interval_s: 30,
            session_expires_s: 1800,
            circuit_breaker_failures: 5,
            circuit_breaker_open_s: 30,
        }
    );
    assert_eq!(
        (
            trunk.channel_limit,
            trunk.rtp_start_port,
            trunk.rtp_end_port
        ),
        (50, 16_384, 32_767)
    );
    assert_eq!(
        trunk.codec_preferences,
        [CodecName::Pcmu, CodecName::Pcma, CodecName::Opus]
    );
    let shown = report.effective.to_string();
    for line in [
        "trunks[1].transport = \"udp\"  # default",
        "trunks[1].source_pbx_port = 5060  # default",
        "trunks[1].register_expires_sec = 3600  # default",
        "trunks[1].reject_sip_code = 603  # default",
        "trunks[1].dtmf = \"auto\"  # default",
        "trunks[1].session_expires_s = 1800  # default",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

#[test]
fn every_field_is_read() {
    let files = files();
    fs::copy(files.path("cert.pem"), files.path("ca.pem")).unwrap();
    let (trunk, sip, report) = sip_trunk(
        &files,
        r#"transport = "tls"
internal_sip_ip = "::1"
external_sip_ip = "2001:db8::7"
source_pbx_port = 15061
sbc_ip = ["sbc-1.example.com", "[2001:db8::9]"]
destination_sbc_port = 15062
display_name = "Acme \"Support\""
domain = "acme.example.com"
proxy = "sip:proxy.example.com:5070;transport=tls;lr"
sip_username = "acme"
sip_password_file = "password"
require_registration = true
register_expires_sec = 120
media_ip_cidrs = ["192.0.2.0/24", "2001:db8::/32"]
reject_incoming_calls = false
reject_sip_code = 486
reject_audio_file = "hello.wav"
ignore_early_media = true
terminate_on_hold = true
inbound_rule = 1
inbound_audio_url = "hello.wav"
dtmf = "info"
srtp = true
tls_ca_file = "ca.pem"
options_interval_s = 0
session_expires_s = 90
circuit_breaker_failures = 0
circuit_breaker_open_s = 5
channel_limit = 7
internal_rtp_ip = "::1"
external_rtp_ip = "2001:db8::8"
codec_preferences = ["opus", "L16"]
"#,
    );
    assert_eq!(sip.transport, SipTransport::Tls);
    assert_eq!(sip.internal_sip_ip, Some("::1".parse().unwrap()));
    assert_eq!(sip.external_sip_ip, Some("2001:db8::7".parse().unwrap()));
    assert_eq!(
        (sip.source_pbx_port, sip.destination_port),
        (15_061, Some(15_062))
    );
    assert_eq!(sip.sbc_hosts, ["sbc-1.example.com", "2001:db8::9"]);
    assert_eq!(sip.display_name.as_deref(), Some("Acme \"Support\""));
    assert_eq!(sip.domain.as_deref(), Some("acme.example.com"));
    assert!(sip.proxy.unwrap().starts_with("sip:proxy"));
    let credentials = sip.credentials.unwrap();
    assert_eq!(
        (credentials.username.as_str(), credentials.password.expose()),
        ("acme", "s3 cret")
    );
    assert!(sip.require_registration && !sip.reject_incoming_calls && sip.srtp);
    assert_eq!((sip.register_expires_s, sip.reject_sip_code), (120, 486));
    assert_eq!(sip.media_ip_cidrs.len(), 2);
    assert_eq!(sip.reject_audio_file, Some(files.path("hello.wav")));
    assert_eq!(sip.inbound_audio_file, Some(files.path("hello.wav")));
    assert_eq!(sip.inbound_rule, InboundRule::PlayAndHangUp);
    assert!(sip.ignore_early_media && sip.terminate_on_hold);
    assert_eq!(sip.dtmf, DtmfMethod::Info);
    assert_eq!(sip.tls_ca_file, Some(files.path("ca.pem")));
    assert_eq!((sip.options_interval_s, sip.session_expires_s), (0, 90));
    assert_eq!(
        (sip.circuit_breaker_failures, sip.circuit_breaker_open_s),
        (0, 5)
    );
    assert_eq!(trunk.external_rtp_ip, Some("2001:db8::8".parse().unwrap()));
    assert_eq!(trunk.codec_preferences, [CodecName::Opus, CodecName::L16]);
    assert!(!report.effective.to_string().contains("s3 cret"));
}

#[test]
fn other_forms_of_the_same() {
    let files = files();
    let (_, sip, report) = sip_trunk(
        &files,
        "sbc_ip = \"sbc.example.com\"\nsip_username = \"acme\"\nsip_password = \"env:SHORT\"\nreject_incoming_calls = false\n\
         inbound_rule = 2\ninbound_webhook_url = \"https://hooks.example.com/calls?x=1\"\n",
    );
    assert_eq!(sip.sbc_hosts, ["sbc.example.com"]);
    assert_eq!(sip.credentials.unwrap().password.expose(), "short");
    assert!(sip.inbound_webhook_url.unwrap().ends_with("?x=1"));
    assert!(
        report
            .effective
            .to_string()
            .contains("sip_password = \"env:SHORT\"")
    );
    let url = format!("file://{}", files.path("hello.wav").display());
    let (_, sip, _) = sip_trunk(
        &files,
        &format!(
            "reject_incoming_calls = false\ninbound_rule = 1\ninbound_audio_url = \"{url}\"\n"
        ),
    );
    assert_eq!(sip.inbound_audio_file, Some(files.path("hello.wav")));
    let (_, sip, _) = sip_trunk(&files, "transport = \"tls\"\n");
    assert_eq!(sip.source_pbx_port, 5061);
}

/// The first line is line 26 of the file.
#[test]
fn mistakes_of_a_sip_trunk_are_told_with_their_place() {
    let files = files();
    for (lines, problem) in [
        (
            "transport = \"sctp\"",
            "26:13: trunks[1].transport: \"sctp\" is not allowed; allowed: \"udp\", \"tcp\", \"tls\"",
        ),
        (
            "sbc_ip = []",
            "26:10: trunks[1].sbc_ip: names no host; allowed: at least one",
        ),
        (
            "sbc_ip = [\"a b\"]",
            "26:11: trunks[1].sbc_ip: \"a b\" is not allowed; allowed: an IPv4 or IPv6 address or a host",
        ),
        (
            "sbc_ip = \"192.0.2.300\"",
            "26:10: trunks[1].sbc_ip: \"192.0.2.300\" is not allowed",
        ),
        (
            "sbc_ip = 5",
            "26:10: trunks[1].sbc_ip: is a whole number; allowed: a list of texts",
        ),
        (
            "source_pbx_port = 0",
            "26:19: trunks[1].source_pbx_port: 0 is out of range; allowed: a whole number from 1",
        ),
        (
            "external_sip_ip = \"0.0.0.0\"",
            "26:19: trunks[1].external_sip_ip: \"0.0.0.0\" is not allowed",
        ),
        (
            "domain = \"acme.example.com:5060\"",
            "26:10: trunks[1].domain: \"acme.example.com:5060\" is not allowed",
        ),
        (
            "display_name = \"a\\nb\"",
            "26:16: trunks[1].display_name: \"\"\"\na",
        ),
        (
            "proxy = \"proxy.example.com\"",
            "26:9: trunks[1].proxy: \"proxy.example.com\" is not allowed; allowed: sip:HOST",
        ),
        (
            "proxy = \"sip:me@proxy\"",
            "26:9: trunks[1].proxy: \"sip:me@proxy\" is not allowed",
        ),
        (
            "require_registration = true",
            "26:24: trunks[1].require_registration: needs sip_username and its password",
        ),
        (
            "sip_username = \"acme\"",
            "26:16: trunks[1].sip_username: needs sip_password_file or sip_password",
        ),
        (
            "sip_password_file = \"password\"",
            "26:21: trunks[1].sip_password_file: needs sip_username",
        ),
        (
            "sip_username = \"acme\"\nsip_password = \"plain\"",
            "27:16: trunks[1].sip_password: a secret is never written here",
        ),
        (
            "sip_username = \"acme\"\nsip_password = \"env:LINES\"",
            "27:16: trunks[1].sip_password: the environment variable LINES holds no secret; allowed: one line of 1 to 256",
        ),
        (
            "sip_username = \"acme\"\nsip_password_file = \"empty\"",
            "27:21: trunks[1].sip_password_file: empty holds no secret",
        ),
        (
            "register_expires_sec = 0",
            "26:24: trunks[1].register_expires_sec: 0 is out of range; allowed: a whole number from 10",
        ),
        (
            "media_ip_cidrs = [\"192.0.2.0/33\"]",
            "26:19: trunks[1].media_ip_cidrs: \"192.0.2.0/33\" is not allowed",
        ),
        (
            "reject_sip_code = 302",
            "26:19: trunks[1].reject_sip_code: 302 is out of range; allowed: a whole number from 400 to 699",
        ),
        (
            "reject_audio_file = \"nowhere.wav\"",
            "26:21: trunks[1].reject_audio_file: nowhere.wav: No such file",
        ),
        (
            "reject_audio_file = \"short.wav\"",
            "26:21: trunks[1].reject_audio_file: short.wav is no WAV file",
        ),
        (
            "reject_audio_file = \"cert.pem\"",
            "26:21: trunks[1].reject_audio_file: cert.pem is no WAV file",
        ),
        (
            "inbound_rule = 4",
            "26:16: trunks[1].inbound_rule: 4 is out of range",
        ),
        (
            "inbound_rule = 1",
            "21:1: trunks[1].inbound_audio_url: is missing",
        ),
        (
            "inbound_rule = 2",
            "21:1: trunks[1].inbound_webhook_url: is missing",
        ),
        (
            "inbound_audio_url = \"hello.wav\"",
            "26:1: trunks[1].inbound_audio_url: is for inbound_rule = 1",
        ),
        (
            "inbound_webhook_url = \"https://x\"",
            "26:1: trunks[1].inbound_webhook_url: is for inbound_rule = 2",
        ),
        (
            "inbound_rule = 1\ninbound_audio_url = \"https://x/a.wav\"",
            "27:21: trunks[1].inbound_audio_url: is fetched from nowhere",
        ),
        (
            "inbound_rule = 2\ninbound_webhook_url = \"ftp://x/\"",
            "27:23: trunks[1].inbound_webhook_url: \"ftp://x/\" is not allowed; allowed: http",
        ),
        (
            "dtmf = \"rfc2833\"",
            "26:8: trunks[1].dtmf: \"rfc2833\" is not allowed; allowed: \"auto\", \"rfc4733\"",
        ),
        (
            "tls_ca_file = \"cert.pem\"",
            "26:1: trunks[1].tls_ca_file: is for transport = \"tls\"",
        ),
        (
            "transport = \"tls\"\ntls_ca_file = \"key.pem\"",
            "27:15: trunks[1].tls_ca_file: key.pem: holds no PEM certificate",
        ),
        (
            "session_expires_s = 60",
            "26:21: trunks[1].session_expires_s: 60 is out of range; allowed: a whole number from 90",
        ),
        (
            "auto_bargein_mode = \"x\"",
            "26:1: trunks[1].auto_bargein_mode: has no effect: what it takes is not published; here it is auto_barge_in",
        ),
        (
            "inbound_rule = 3",
            "21:1: trunks[1].inbound_ai_websocket_url: is missing",
        ),
        (
            "inbound_ai_websocket_url = \"wss://agent.example.com/\"",
            "26:1: trunks[1].inbound_ai_websocket_url: is for inbound_rule = 3 or kind \"websocket\"",
        ),
        (
            "api_bearer_token = \"x\"",
            "26:20: trunks[1].api_bearer_token: a secret is never written here; allowed: api_bearer_token_file",
        ),
        (
            "remote = \"192.0.2.1:4000\"",
            "26:1: trunks[1].remote: belongs to kind \"rtp\"",
        ),
        (
            "codec = \"PCMU\"",
            "26:1: trunks[1].codec: belongs to kind \"echo\"",
        ),
        (
            "gateway_port = 5060",
            "26:1: trunks[1].gateway_port: unknown key; did you mean",
        ),
    ] {
        let problems = files.problems(&with_sip(&format!("{lines}\n")));
        assert!(
            problems.join("\n").contains(problem) && problems.len() <= 3,
            "{lines}\n{problem}\n{problems:#?}"
        );
    }
    let without = with_sip("").replace("gateway_ip = \"192.0.2.20\"\n", "");
    assert_eq!(
        files.problems(&without),
        ["gateway.toml:21:1: trunks[1].gateway_ip: is missing"]
    );
}

#[test]
fn what_is_allowed_and_hardly_meant_is_warned_of() {
    let files = files();
    for (lines, warning) in [
        (
            "srtp = true\n",
            "trunks[1].srtp: without transport = \"tls\" the keys travel in the clear",
        ),
        (
            "inbound_rule = 2\ninbound_webhook_url = \"https://hooks.example.com\"\n",
            "trunks[1].inbound_rule: has no effect while reject_incoming_calls is true",
        ),
        (
            "api_bearer_token = \"env:ADMIN\"\n",
            "trunks[1].api_bearer_token: has no effect: the tenant's [tenants.twilio] is not about this trunk",
        ),
    ] {
        let (_, _, report) = sip_trunk(&files, lines);
        let warnings = report.warnings.to_string();
        assert!(warnings.contains(warning), "{lines}: {warnings}");
    }
}

#[test]
fn trunks_share_a_socket_or_are_told_why_not() {
    let files = files();
    let beside = |first: &str, second: &str| {
        let other = SIP.replace("\"carrier\"", "\"other\"");
        let text = format!("{}{other}{second}", with_sip(first));
        files.read(&text).map(|_| ()).map_err(|error| {
            let told = files.lines(&error.to_string()).join("\n");
            told.split_once(": ").unwrap().1.to_owned()
        })
    };
    for (first, second) in [
        ("", ""),
        ("transport = \"tcp\"\n", ""),
        (
            "internal_sip_ip = \"127.0.0.1\"\n",
            "internal_sip_ip = \"::1\"\n",
        ),
        (
            "internal_sip_ip = \"0.0.0.0\"\n",
            "internal_sip_ip = \"::1\"\n",
        ),
        ("transport = \"tls\"\n", "transport = \"tcp\"\n"),
        ("reject_incoming_calls = false\n", ""),
        (
            "reject_incoming_calls = false\n",
            "reject_incoming_calls = false\nsource_pbx_port = 5070\n",
        ),
        (
            "reject_incoming_calls = false\n",
            "reject_incoming_calls = false\ndestination_sbc_port = 5070\n",
        ),
    ] {
        assert_eq!(beside(first, second), Ok(()), "{first}{second}");
    }
    for (first, second, problem) in [
        (
            "transport = \"tcp\"\n",
            "transport = \"tls\"\nsource_pbx_port = 5060\n",
            "trunks[2].source_pbx_port: port 5060 is that of trunk \"carrier\", one with transport \"tls\"",
        ),
        (
            "internal_sip_ip = \"127.0.0.1\"\n",
            "",
            "trunks[2].source_pbx_port: trunk \"carrier\" has the same port at another internal_sip_ip",
        ),
        (
            "internal_sip_ip = \"0.0.0.0\"\n",
            "internal_sip_ip = \"127.0.0.1\"\n",
            "trunks[2].source_pbx_port: trunk \"carrier\" has the same port at another internal_sip_ip",
        ),
        (
            "reject_incoming_calls = false\n",
            "reject_incoming_calls = false\ndestination_sbc_port = 5060\n",
            "trunks[2].gateway_ip: calls from 192.0.2.20 port 5060 are trunk \"carrier\"'s already",
        ),
    ] {
        let told = beside(first, second).unwrap_err();
        assert!(told.starts_with(problem), "{first}{second}: {told}");
    }
}
