//! `[tenants.vapi]`: relays that come to us, and calls to Vapi.

use super::*;

const CALLS: &str = "api_key_file = \"admin-token\"\nassistant_id = \"a-1\"\n";

/// The good file with a Vapi table whose first line is line 9.
fn with_vapi(lines: &str) -> String {
    let table =
        format!("outbound_hosts = [\"api.vapi.ai\"]\n[tenants.vapi]\n{lines}[tenants.browser]");
    let tenant = TENANT_AND_TRUNK.replacen("[tenants.browser]", &table, 1);
    format!("{SERVER}{tenant}")
}

#[track_caller]
fn vapi(files: &Files, lines: &str) -> (VapiConfig, Report) {
    let (config, report) = files.read(&with_vapi(lines)).unwrap();
    let tenant = &config.tenants[&"acme".parse().unwrap()];
    (tenant.vapi.clone().unwrap(), report)
}

#[test]
fn relays_need_a_token_and_calls_a_key() {
    let files = Files::new();
    let (relay, _) = vapi(&files, "bearer_token = \"env:ADMIN\"\n");
    let expected = VapiConfig {
        bearer_token: Some(Secret::new("fedcba9876543210")),
        ..VapiConfig::with_defaults()
    };
    assert_eq!(relay, expected);
    let (calls, report) = vapi(&files, CALLS);
    let expected = VapiConfig {
        api_key: Some(Secret::new("0123456789abcdef")),
        assistant_id: Some("a-1".to_owned()),
        ..VapiConfig::with_defaults()
    };
    assert_eq!(calls, expected);
    assert_eq!(calls.api_url, "https://api.vapi.ai");
    assert_eq!(
        (
            calls.audio_format,
            calls.sample_rate_hz,
            calls.connect_timeout_ms,
            calls.queue_ms_max
        ),
        (VapiAudioFormat::Linear16, 16_000, 5_000, 60_000)
    );
    let shown = report.effective.to_string();
    for line in [
        "tenants[0].vapi.api_url = \"https://api.vapi.ai\"  # default",
        "tenants[0].vapi.audio_format = \"linear16\"  # default",
        "tenants[0].vapi.sample_rate_hz = 16000  # default",
        "tenants[0].vapi.connect_timeout_ms = 5000  # default",
        "tenants[0].vapi.queue_ms_max = 60000  # default",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
}

#[test]
fn every_field_of_vapi_is_read() {
    let files = Files::new();
    fs::copy(files.path("cert.pem"), files.path("ca.pem")).unwrap();
    let (vapi, _) = vapi(
        &files,
        &format!(
            "bearer_token_file = \"admin-token\"\n{CALLS}api_url = \"https://api.vapi.ai:8443\"\naudio_format = \"mulaw\"\n\
             sample_rate_hz = 8000\nconnect_timeout_ms = 900\nca_file = \"ca.pem\"\nqueue_ms_max = 5000\n"
        ),
    );
    assert!(vapi.bearer_token.is_some() && vapi.api_key.is_some());
    assert_eq!(vapi.api_url, "https://api.vapi.ai:8443");
    assert_eq!(
        (vapi.audio_format, vapi.sample_rate_hz),
        (VapiAudioFormat::Mulaw, 8_000)
    );
    assert_eq!((vapi.connect_timeout_ms, vapi.queue_ms_max), (900, 5_000));
    assert_eq!(vapi.ca_file, Some(files.path("ca.pem")));
}

#[test]
fn mistakes_of_vapi_are_told_with_their_place() {
    let files = Files::new();
    for (lines, problem) in [
        (
            "",
            "8:1: tenants[0].vapi.bearer_token_file: nobody is let in and nobody is called; allowed: bearer_token_file",
        ),
        (
            "api_key = \"env:ADMIN\"\n",
            "8:1: tenants[0].vapi.assistant_id: is missing",
        ),
        (
            "bearer_token = \"env:ADMIN\"\nassistant_id = \"a-1\"\n",
            "10:1: tenants[0].vapi.assistant_id: is for calls to Vapi, which need api_key_file",
        ),
        (
            "bearer_token = \"env:ADMIN\"\napi_url = \"https://api.vapi.ai\"\n",
            "10:1: tenants[0].vapi.api_url: is for calls to Vapi",
        ),
        (
            "+api_url = \"https://api.eu.vapi.ai\"\n",
            "11:11: tenants[0].vapi.api_url: \"api.eu.vapi.ai\" is none of the hosts that the gateway may dial for the tenant; \
             allow it: outbound_hosts = [\"*.eu.vapi.ai\"] in this tenant's [[tenants]]",
        ),
        (
            "+api_url = \"http://api.vapi.ai\"\n",
            "11:11: tenants[0].vapi.api_url: \"http://api.vapi.ai\" is not allowed; allowed: https://HOST[:PORT]",
        ),
        (
            "+api_url = \"https://api.vapi.ai/v1\"\n",
            "11:11: tenants[0].vapi.api_url: \"https://api.vapi.ai/...\" is not allowed",
        ),
        (
            "+audio_format = \"opus\"\n",
            "11:16: tenants[0].vapi.audio_format: \"opus\" is not allowed; allowed: \"linear16\", \"mulaw\"",
        ),
        (
            "+audio_format = \"mulaw\"\nsample_rate_hz = 16000\n",
            "12:18: tenants[0].vapi.sample_rate_hz: 16000 is not allowed; allowed with audio_format = \"mulaw\": 8000",
        ),
        (
            "+audio_format = \"mu-law\"\nsample_rate_hz = 16000\n",
            "11:16: tenants[0].vapi.audio_format: \"mu-law\" is not allowed; allowed: \"linear16\", \"mulaw\"",
        ),
        (
            "+api_url = \"https://api.vapi.ai/\"\n",
            "11:11: tenants[0].vapi.api_url: \"https://api.vapi.ai/\" is not allowed; allowed: https://HOST[:PORT]",
        ),
        (
            "+sample_rate_hz = 48000\n",
            "11:18: tenants[0].vapi.sample_rate_hz: 48000 is not allowed; allowed with audio_format = \"linear16\": 8000, \
             16000, 24000",
        ),
        (
            "+ca_file = \"key.pem\"\n",
            "11:11: tenants[0].vapi.ca_file: key.pem: holds no PEM certificate",
        ),
    ] {
        let problems = files.problems(&with_vapi(&lines.replacen('+', CALLS, 1)));
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("gateway.toml:{problem}")),
            "{lines}\n{problem}\n{problems:#?}"
        );
    }
}

#[test]
fn calls_go_to_vapi_by_inbound_route() {
    let files = Files::new();
    let route = "[[trunks]]\ntrunk_id = \"carrier\"\ntenant_id = \"acme\"\nkind = \"sip\"\ngateway_ip = \"192.0.2.20\"\n\
                 reject_incoming_calls = false\n";
    let inbound = "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"vapi\"\n[[trunks]]";
    let text = |lines: &str| {
        format!(
            "{}{route}",
            with_vapi(lines).replacen("[[trunks]]", inbound, 1)
        )
    };
    let (config, _) = files.read(&text(CALLS)).unwrap();
    let tenant = &config.tenants[&"acme".parse().unwrap()];
    assert_eq!(tenant.inbound[0].target, InboundTarget::Vapi);
    let misspelt = CALLS.replace("a-1", "a 1");
    let problems = files.problems(&text(&misspelt));
    assert!(
        problems.len() == 1 && problems[0].contains("vapi.assistant_id: \"a 1\" is not allowed"),
        "{problems:#?}"
    );
    let problems = files.problems(&text("bearer_token = \"env:ADMIN\"\n"));
    assert!(
        problems[0].contains("inbound[0].target: the tenant makes no calls to Vapi"),
        "{problems:?}"
    );
}

#[test]
fn the_hosts_of_vapis_sockets_have_to_be_allowed_too() {
    let files = Files::new();
    let (_, report) = vapi(&files, CALLS);
    let warnings = report.warnings.to_string();
    let told = "tenants[0].vapi.api_key_file: the sockets of calls are at other hosts than the API, and none of them is \
                allowed: outbound_hosts = [\"*.vapi.ai\"] allows them";
    assert!(warnings.contains(told), "{warnings}");
    for (hosts, api_url) in [
        ("\"*.vapi.ai\"", "https://api.vapi.ai"),
        ("\"*.vapi.ai\"", "https://api.eu.vapi.ai"),
        ("\"127.0.0.1\"", "http://127.0.0.1:8080"),
        ("\"localhost\"", "https://localhost:8080"),
    ] {
        let text = with_vapi(&format!("{CALLS}api_url = \"{api_url}\"\n"));
        let (_, report) = files
            .read(&text.replacen("\"api.vapi.ai\"", hosts, 1))
            .unwrap();
        let warnings = report.warnings.to_string();
        assert!(!warnings.contains("the sockets of calls"), "{warnings}");
    }
}

#[test]
fn a_relays_calls_to_a_sip_trunk_need_a_number() {
    let files = Files::new();
    let carrier = "[[trunks]]\ntrunk_id = \"carrier\"\ntenant_id = \"acme\"\nkind = \"sip\"\ngateway_ip = \"192.0.2.20\"\n";
    let text = |to: &str| {
        let route = format!(
            "[[tenants.routes]]\nvendor = \"vapi\"\ntrunk_id = \"carrier\"\n{to}[[trunks]]"
        );
        let relay = with_vapi("bearer_token = \"env:ADMIN\"\n");
        format!("{}{carrier}", relay.replacen("[[trunks]]", &route, 1))
    };
    files.read(&text("to = \"+15550100\"\n")).unwrap();
    let problems = files.problems(&text(""));
    assert!(
        problems.len() == 1
            && problems[0].contains("routes[1].to: is missing: a Vapi relay names no number"),
        "{problems:#?}"
    );
}
