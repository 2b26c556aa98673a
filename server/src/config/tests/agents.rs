//! AI agents: trunks of kind "websocket", SIP trunks with `inbound_rule = 3`, and the hosts that the tenant allows.

use std::time::Duration;

use super::*;

const AGENT: &str = "[[trunks]]\ntrunk_id = \"bot\"\ntenant_id = \"acme\"\nkind = \"websocket\"\n";
const URL: &str = "inbound_ai_websocket_url = \"wss://bot.example.com/media\"\n";

/// The good file with a tenant that allows `hosts`, and an agent whose first line is line 26.
fn with_agent(hosts: &str, lines: &str) -> String {
    let tenant = TENANT_AND_TRUNK.replacen(
        "[tenants.browser]",
        &format!("outbound_hosts = {hosts}\n[tenants.browser]"),
        1,
    );
    format!("{SERVER}{tenant}{AGENT}{lines}")
}

#[track_caller]
fn agent(files: &Files, lines: &str) -> (AgentConfig, Report) {
    let text = with_agent("[\"*.example.com\", \"127.0.0.1\"]", lines);
    let (config, report) = files.read(&text).unwrap();
    let TrunkKind::WebSocket(agent) = &config.trunks[&"bot".parse().unwrap()].kind else {
        panic!("no agent");
    };
    (AgentConfig::clone(agent), report)
}

#[test]
fn a_small_agent_has_the_documented_defaults() {
    let files = Files::new();
    let url = || "wss://bot.example.com/media".to_owned();
    let (twilio, report) = agent(&files, URL);
    assert_eq!(
        twilio,
        AgentConfig {
            url: url(),
            dialect: AgentDialect::Twilio,
            sample_rate_hz: 8_000,
            connect_timeout_ms: 5_000,
            ca_file: None,
            queue_ms_max: 60_000,
            barge_in: None,
            bearer_token: None,
        }
    );
    let shown = report.effective.to_string();
    for line in [
        "trunks[1].inbound_ai_websocket_url = \"wss://bot.example.com/...\"  # ",
        "trunks[1].agent_dialect = \"twilio\"  # default",
        "trunks[1].agent_sample_rate_hz = 8000  # default",
        "trunks[1].agent_connect_timeout_ms = 5000  # default",
        "trunks[1].agent_queue_ms_max = 60000  # default",
        "trunks[1].auto_barge_in = false  # default",
        "tenants[0].outbound_hosts = [\"*.example.com\", \"127.0.0.1\"]  # ",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
    let (pcm16, _) = agent(&files, &format!("{URL}agent_dialect = \"pcm16\"\n"));
    assert_eq!(
        pcm16,
        AgentConfig::with_defaults(url(), AgentDialect::Pcm16)
    );
    assert_eq!(pcm16.sample_rate_hz, 16_000);
}

#[test]
fn every_field_of_an_agent_is_read() {
    let files = Files::new();
    fs::copy(files.path("cert.pem"), files.path("ca.pem")).unwrap();
    let (agent, report) = agent(
        &files,
        &format!(
            "{URL}agent_dialect = \"pcm16\"\nagent_sample_rate_hz = 24000\nagent_connect_timeout_ms = 800\nagent_ca_file = \"ca.pem\"\n\
             agent_queue_ms_max = 1000\nauto_barge_in = true\nbarge_in_patience_ms = 400\nagent_bearer_token_file = \"admin-token\"\n\
             channel_limit = 3\nno_media_timeout_s = 0\nreorder_wait_ms = 40\n"
        ),
    );
    assert_eq!(
        (agent.dialect, agent.sample_rate_hz),
        (AgentDialect::Pcm16, 24_000)
    );
    assert_eq!((agent.connect_timeout_ms, agent.queue_ms_max), (800, 1_000));
    assert_eq!(agent.ca_file, Some(files.path("ca.pem")));
    assert_eq!(agent.barge_in, Some(Duration::from_millis(400)));
    assert_eq!(agent.bearer_token, Some(Secret::new("0123456789abcdef")));
    let told = format!("{agent:?}{}", report.effective);
    assert!(!told.contains("0123456789abcdef"), "{told}");
}

#[test]
fn a_barge_in_has_its_patience_by_default() {
    let (agent, _) = agent(&Files::new(), &format!("{URL}auto_barge_in = true\n"));
    assert_eq!(agent.barge_in, Some(Duration::from_millis(250)));
}

#[test]
fn plain_sockets_are_for_this_machine() {
    let files = Files::new();
    let line = "inbound_ai_websocket_url = \"ws://127.0.0.1:9000/\"\n";
    let (agent, _) = agent(&files, line);
    assert_eq!(agent.url, "ws://127.0.0.1:9000/");
    let problems = files.problems(&with_agent(
        "[\"127.0.0.1\"]",
        &format!("{line}agent_ca_file = \"cert.pem\"\n"),
    ));
    assert_eq!(
        problems,
        ["gateway.toml:27:1: trunks[1].agent_ca_file: is for wss://"]
    );
}

#[test]
fn mistakes_of_an_agent_are_told_with_their_place() {
    let files = Files::new();
    for (lines, problem) in [
        ("", "22:1: trunks[1].inbound_ai_websocket_url: is missing"),
        (
            "inbound_ai_websocket_url = \"https://bot.example.com\"",
            "26:28: trunks[1].inbound_ai_websocket_url: \"https://bot.example.com\" is not allowed; allowed: wss://HOST",
        ),
        (
            "inbound_ai_websocket_url = \"ws://bot.example.com\"",
            "26:28: trunks[1].inbound_ai_websocket_url: \"ws://bot.example.com\" is not allowed; allowed: wss://HOST",
        ),
        (
            "inbound_ai_websocket_url = \"wss://me:secret@bot.example.com\"",
            "26:28: trunks[1].inbound_ai_websocket_url: \"wss://[...]\" is not allowed",
        ),
        (
            "inbound_ai_websocket_url = \"wss://bot.example.org/\"",
            "26:28: trunks[1].inbound_ai_websocket_url: \"bot.example.org\" is none of the hosts that the gateway may dial \
             for the tenant; allow it: outbound_hosts = [\"bot.example.org\"] in [[tenants]] \"acme\"",
        ),
        (
            "+agent_dialect = \"openai\"",
            "27:17: trunks[1].agent_dialect: \"openai\" is not allowed; allowed: \"twilio\", \"pcm16\"",
        ),
        (
            "+agent_sample_rate_hz = 16000",
            "27:24: trunks[1].agent_sample_rate_hz: 16000 is not allowed; allowed with agent_dialect = \"twilio\": 8000",
        ),
        (
            "+agent_sample_rate_hz = 16000\nagent_dialect = \"pcm-16\"",
            "28:17: trunks[1].agent_dialect: \"pcm-16\" is not allowed; allowed: \"twilio\", \"pcm16\"",
        ),
        (
            "+agent_sample_rate_hz = 44100\nagent_dialect = \"pcm16\"",
            "27:24: trunks[1].agent_sample_rate_hz: 44100 is not allowed; allowed with agent_dialect = \"pcm16\": 8000, \
             16000, 24000",
        ),
        (
            "+agent_connect_timeout_ms = 0",
            "27:28: trunks[1].agent_connect_timeout_ms: 0 is out of range; allowed: a whole number from 100 to 30000",
        ),
        (
            "+agent_queue_ms_max = 700000",
            "27:22: trunks[1].agent_queue_ms_max: 700000 is out of range; allowed: a whole number from 20 to 600000",
        ),
        (
            "+agent_ca_file = \"key.pem\"",
            "27:17: trunks[1].agent_ca_file: key.pem: holds no PEM certificate",
        ),
        (
            "+barge_in_patience_ms = 250",
            "27:1: trunks[1].barge_in_patience_ms: is for auto_barge_in = true",
        ),
        (
            "+agent_bearer_token = \"hunter2hunter2hunter2\"",
            "27:22: trunks[1].agent_bearer_token: a secret is never written here",
        ),
        (
            "+inbound_ai_quic_url = \"quic://x\"",
            "27:1: trunks[1].inbound_ai_quic_url: has no effect: AI agents are reached by WebSocket",
        ),
        (
            "+auto_bargein_aggressiveness = 2",
            "27:1: trunks[1].auto_bargein_aggressiveness: has no effect: what it takes is not published; here it is \
             barge_in_patience_ms",
        ),
        (
            "+agent_dialects = \"x\"",
            "27:1: trunks[1].agent_dialects: unknown key; did you mean \"agent_dialect\"?",
        ),
    ] {
        let lines = lines.replacen('+', URL, 1);
        let problems = files.problems(&with_agent("[\"bot.example.com\"]", &format!("{lines}\n")));
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("gateway.toml:{problem}")),
            "{lines}\n{problem}\n{problems:#?}"
        );
    }
}

#[test]
fn a_sip_trunk_has_an_agent_for_inbound_rule_3() {
    let files = Files::new();
    let sip = |lines: &str| {
        let agent = AGENT.replace("\"websocket\"", "\"sip\"\ngateway_ip = \"192.0.2.20\"");
        with_agent("[\"bot.example.com\"]", lines).replace(AGENT, &agent)
    };
    let rule = "reject_incoming_calls = false\ninbound_rule = 3\n";
    let (config, report) = files
        .read(&sip(&format!("{rule}{URL}agent_dialect = \"pcm16\"\n")))
        .unwrap();
    let TrunkKind::Sip(trunk) = &config.trunks[&"bot".parse().unwrap()].kind else {
        panic!("no SIP trunk");
    };
    assert_eq!(trunk.inbound_rule, InboundRule::HandleAi);
    let url = "wss://bot.example.com/media".to_owned();
    let agent = AgentConfig::with_defaults(url, AgentDialect::Pcm16);
    assert_eq!(trunk.agent, Some(agent));
    // That nothing opens the admin window is the fixture's doing.
    assert_eq!(report.warnings.0.len(), 1, "{}", report.warnings);
    let (_, report) = files
        .read(&sip(&format!("inbound_rule = 3\n{URL}")))
        .unwrap();
    let warnings = report.warnings.to_string();
    assert!(
        warnings
            .contains("trunks[1].inbound_rule: has no effect while reject_incoming_calls is true")
    );
    let not_allowed = sip(&format!("{rule}{}", URL.replace("bot.", "bots.")));
    assert!(files.problems(&not_allowed)[0].contains("outbound_hosts = [\"bots.example.com\"]"));
}

#[test]
fn calls_go_to_an_agent_by_inbound_route() {
    let files = Files::new();
    let sip = "[[trunks]]\ntrunk_id = \"carrier\"\ntenant_id = \"acme\"\nkind = \"sip\"\ngateway_ip = \"192.0.2.20\"\n\
               reject_incoming_calls = false\n";
    let route = "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"agent\"\nagent_trunk_id = \"bot\"\n";
    let text = with_agent("[\"bot.example.com\"]", &format!("{URL}{sip}")).replacen(
        "[[trunks]]",
        &format!("{route}[[trunks]]"),
        1,
    );
    let (config, _) = files.read(&text).unwrap();
    let target = &config.tenants[&"acme".parse().unwrap()].inbound[0].target;
    let trunk_id = "bot".parse().unwrap();
    assert_eq!(*target, InboundTarget::Agent { trunk_id });
}

#[test]
fn a_tenants_hosts_are_allowed_and_no_others() {
    let (config, _) = Files::new()
        .read(&with_agent("[\"*.example.com\", \"::1\"]", URL))
        .unwrap();
    let tenant = &config.tenants[&"acme".parse().unwrap()];
    assert!(tenant.allows_host("api.example.com") && tenant.allows_host("[::1]"));
    assert!(!tenant.allows_host("example.com") && !tenant.allows_host("127.0.0.1"));
    let (config, _) = Files::new()
        .read(&format!("{SERVER}{TENANT_AND_TRUNK}"))
        .unwrap();
    assert!(!config.tenants[&"acme".parse().unwrap()].allows_host("api.example.com"));
}

#[test]
fn whoever_refers_to_an_agent_with_a_mistake_is_not_told_of_it_again() {
    let files = Files::new();
    let line = "inbound_ai_websocket_url = \"wss://bot.example.com:port/media?token=hunter2\"";
    let text = with_agent("[]", line).replacen("trunk_id = \"echo\"", "trunk_id = \"bot\"", 1);
    let problems = files.problems(&text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let told = "inbound_ai_websocket_url: \"wss://bot.example.com:port/...\" is not allowed; allowed: wss://HOST";
    assert!(problems[0].contains(told), "{problems:#?}");
}
