//! `shards.toml`, both files against each other and the machine, and the examples of `deploy/`.

use super::*;

fn machine() -> Machine {
    Machine {
        cores: vec![0, 1, 2, 3],
        local_ports: 32_768..=60_999,
        reserved_ports: Vec::new(),
    }
}

#[test]
fn without_a_shards_file_everything_has_its_default() {
    let (config, report) = shards_file::read(None, &[0, 1, 2, 3]).unwrap();
    assert_eq!(config, ShardsConfig::on_cores(vec![0, 1, 2]));
    assert_eq!(
        (
            config.tick_us,
            config.preempt_timer_us,
            config.webrtc_udp_port_base
        ),
        (1_000, 500, 10_000)
    );
    assert_eq!(
        (
            config.udp_receive_buffer_bytes,
            config.udp_send_buffer_bytes
        ),
        (8 << 20, 4 << 20)
    );
    assert!(
        report
            .effective
            .settings
            .iter()
            .all(|setting| setting.position.is_none())
    );
    assert_eq!(shards_file::read(None, &[5]).unwrap().0.cores, [5]);
}

#[test]
fn shards_mistakes_are_told_with_their_place() {
    let files = Files::new();
    for (text, problem) in [
        (
            "cores = []",
            "shards.toml:1:9: cores: names no core; allowed: at least one",
        ),
        (
            "cores = [0, 0]",
            "shards.toml:1:9: cores: names a core twice; allowed: one shard per core",
        ),
        (
            "cores = [0.5]",
            "shards.toml:1:10: cores: is a fraction; allowed: a whole number from 0 to 4095",
        ),
        (
            "tick_us = 0",
            "shards.toml:1:11: tick_us: 0 is out of range; allowed: a whole number from 250 to 10000",
        ),
        (
            "tick_ms = 1",
            "shards.toml:1:1: tick_ms: unknown key; did you mean \"tick_us\"?",
        ),
        (
            "cores = [0]\n[spread]\nacme = 2",
            "shards.toml:3:1: spread.acme: 2 is more than there are shards; allowed: 1 to 1",
        ),
        (
            "cores = [0]\n[spread]\n\"a/b\" = 1",
            "shards.toml:3:1: spread.a/b: an id is 1 to 64 characters of A-Z a-z 0-9 _ -",
        ),
    ] {
        files.write("shards.toml", text);
        let error = shards_file::read(Some(&files.path("shards.toml")), &[0, 1]).unwrap_err();
        assert_eq!(files.lines(&error.to_string()), [problem]);
    }
}

#[test]
fn both_files_and_the_machine_must_fit() {
    let files = Files::new();
    let rtp = "[[trunks]]\ntrunk_id = \"r\"\ntenant_id = \"acme\"\nkind = \"rtp\"\nremote = \"192.0.2.1:4000\"\n";
    let check = |gateway: &str, shards: &str| {
        files.write(
            "gateway.toml",
            &format!("{SERVER}{TENANT_AND_TRUNK}{gateway}"),
        );
        files.write("shards.toml", shards);
        load(
            &files.path("gateway.toml"),
            Some(&files.path("shards.toml")),
            &machine(),
        )
        .map(|_| ())
        .map_err(|error| files.lines(&error.to_string()))
    };
    assert_eq!(check(rtp, ""), Ok(()));
    for (gateway, shards, problem) in [
        (
            String::new(),
            "cores = [9]",
            "shards.toml:1:9: cores: core 9 is not there; allowed here: [0, 1, 2, 3]",
        ),
        (
            String::new(),
            "control_core = 4",
            "shards.toml:1:16: control_core: core 4 is not there; allowed here: [0, 1, 2, 3]",
        ),
        (
            String::new(),
            "cores = [0, 1]\nwebrtc_udp_port_base = 65535",
            "shards.toml:2:24: webrtc_udp_port_base: leaves no port for each of 2 shards",
        ),
        (
            String::new(),
            "[spread]\numbrella = 1",
            "shards.toml:2:12: spread.umbrella: gateway.toml has no such tenant",
        ),
        (
            rtp.to_owned(),
            "webrtc_udp_port_base = 20000",
            "gateway.toml: trunks[1].rtp_start_port: 16384 to 32767 meets the WebRTC ports 20000 to 20002 \
             (webrtc_udp_port_base and one per shard)",
        ),
        (
            format!("{rtp}rtp_start_port = 20000\nrtp_end_port = 20004\n"),
            "",
            "gateway.toml:27:16: trunks[1].rtp_end_port: 2 port pairs are not enough for 3 shards",
        ),
        (
            format!("{rtp}rtp_start_port = 32000\nrtp_end_port = 40000\n"),
            "",
            "gateway.toml:26:18: trunks[1].rtp_start_port: ports 32768 to 40000 may be taken by outgoing connections \
             (net.ipv4.ip_local_port_range); reserve them: sysctl -w net.ipv4.ip_local_reserved_ports=32000-40000",
        ),
        (
            rtp.replace(
                "rtp\"\nremote",
                "sip\"\nsource_pbx_port = 20000\ngateway_ip",
            )
            .replace(":4000", ""),
            "",
            "gateway.toml:25:19: trunks[1].source_pbx_port: 20000 is one of the media ports 16384 to 32767",
        ),
    ] {
        assert_eq!(
            check(&gateway, shards),
            Err(vec![problem.to_owned()]),
            "{gateway}{shards}"
        );
    }
    let both = check("[sever]\n", "tick = 1\n").unwrap_err();
    assert_eq!(
        both.len(),
        2,
        "problems of both files are told together: {both:?}"
    );
}

/// The example files of `deploy/`, with key files made as its README says.
#[test]
fn the_deployment_examples_are_accepted() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let files = Files::new();
    for directory in ["tls", "keys"] {
        fs::create_dir(files.path(directory)).unwrap();
    }
    for (from, to) in [
        ("cert.pem", "tls/cert.pem"),
        ("key.pem", "tls/key.pem"),
        ("token-key.pem", "keys/token-key.pem"),
        ("admin-token", "keys/admin-token"),
        ("ed25519.pub.pem", "keys/acme-1.pub.pem"),
    ] {
        fs::copy(files.path(from), files.path(to)).unwrap();
    }
    for name in ["gateway.toml", "shards.toml"] {
        fs::copy(deploy.join(name), files.path(name)).unwrap();
    }
    let loaded = load(
        &files.path("gateway.toml"),
        Some(&files.path("shards.toml")),
        &machine(),
    )
    .unwrap();
    assert_eq!(loaded.warnings, Warnings::default());
    assert_eq!(loaded.gateway.trunks.len(), 2);
    let defaults = ShardsConfig::on_cores(loaded.shards.cores.clone());
    assert_eq!(
        loaded.shards, defaults,
        "the example says what the defaults are"
    );
}

/// Nobody's carrier is sip.example.com, so that some of the example is commented out: what stands between two headings.
fn commented_out(heading: &str, next: Option<&str>) -> String {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let example = fs::read_to_string(deploy.join("gateway.toml")).unwrap();
    let (_, commented) = example.split_once(heading).unwrap();
    let commented = match next {
        Some(next) => commented.split_once(next).unwrap().0,
        None => commented,
    };
    commented
        .lines()
        .skip_while(|line| !line.starts_with("# [["))
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or("")))
        .collect()
}

const CARRIER: &str = "# A carrier or PBX";
const VENDORS: &str = "# Twilio, Vapi and an AI agent";

#[test]
fn the_examples_sip_trunk_is_accepted() {
    let active = commented_out(CARRIER, Some(VENDORS));
    let files = Files::new();
    fs::create_dir(files.path("keys")).unwrap();
    files.write("keys/carrier-password", "secret\n");
    let (config, report) = files
        .read(&format!("{SERVER}{TENANT_AND_TRUNK}{active}"))
        .unwrap();
    let trunk = &config.trunks[&"carrier".parse().unwrap()];
    assert!(matches!(trunk.kind, TrunkKind::Sip(_)));
    assert_eq!(config.tenants.values().next().unwrap().inbound.len(), 2);
    // That nothing opens the admin window is the fixture's doing.
    assert_eq!(report.warnings.0.len(), 1, "{}", report.warnings);
}

/// With every key that there is, and its default where it has one.
#[test]
fn the_examples_vendors_are_accepted() {
    let active = commented_out(VENDORS, None);
    let files = Files::new();
    for directory in ["keys", "tls"] {
        fs::create_dir(files.path(directory)).unwrap();
    }
    for secret in [
        "twilio-shared-key",
        "twilio-api-key-secret",
        "twilio-auth-token",
        "vapi-relay-token",
        "vapi-api-key",
        "bot-token",
    ] {
        files.write(&format!("keys/{secret}"), "0123456789abcdef\n");
    }
    for authorities in ["twilio-ca.pem", "vapi-ca.pem", "bot-ca.pem"] {
        fs::copy(
            files.path("cert.pem"),
            files.path(&format!("tls/{authorities}")),
        )
        .unwrap();
    }
    let server = format!("{SERVER}public_url = \"wss://gw.example.com:7443\"\n");
    let read = |active: &str| files.read(&format!("{server}{active}")).unwrap();
    let (config, report) = read(&active);
    assert_eq!(report.warnings.0.len(), 1, "{}", report.warnings);
    let tenant = &config.tenants[&"voice".parse().unwrap()];
    for host in [
        "api.vapi.ai",
        "phone-call-websocket.aws-us-west-2-backend-production1.vapi.ai",
        "api.twilio.com",
    ] {
        assert!(tenant.allows_host(host), "{host}");
    }
    let (twilio, vapi) = (
        tenant.twilio.as_ref().unwrap(),
        tenant.vapi.as_ref().unwrap(),
    );
    assert!(twilio.auth_token.is_some() && twilio.rest.is_some());
    assert!(vapi.api_key.is_some() && vapi.bearer_token.is_some());
    let TrunkKind::WebSocket(agent) = &config.trunks[&"bot".parse().unwrap()].kind else {
        panic!("no agent");
    };
    let defaults = AgentConfig {
        barge_in: Some(std::time::Duration::from_millis(250)),
        bearer_token: agent.bearer_token.clone(),
        ..AgentConfig::with_defaults(agent.url.clone(), AgentDialect::Twilio)
    };
    assert_eq!(**agent, defaults, "the example says what the defaults are");

    // What is commented out within it is right too.
    let whole = active.replace("\n# ", "\n");
    let (config, _) = read(&whole);
    let tenant = &config.tenants[&"voice".parse().unwrap()];
    assert_eq!(tenant.twilio.as_ref().unwrap().shared_keys.len(), 1);
    // An unknown key is answered with all that are known.
    let known_in = |table: &str| {
        let text = whole.replacen(table, &format!("{table}\nqqqqqqqq = 1"), 1);
        let problems = files.problems(&format!("{server}{text}"));
        let (_, known) = problems[0].split_once("unknown key; allowed: ").unwrap();
        known.split(", ").map(str::to_owned).collect::<Vec<_>>()
    };
    let agent_fields = agent_file::AGENT_FIELDS.map(str::to_owned);
    for key in [known_in("[tenants.twilio]"), known_in("[tenants.vapi]")]
        .concat()
        .into_iter()
        .chain(agent_fields)
    {
        let line = format!("{key} = ");
        assert!(whole.contains(&line), "the example has no {key}");
    }
}
