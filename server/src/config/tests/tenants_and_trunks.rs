//! `[[tenants]]` and `[[trunks]]`: what each takes, and how they must fit each other.

use super::*;

/// The good file with one line replaced; gives the problems.
fn changed(files: &Files, from: &str, to: &str) -> Vec<String> {
    let good = format!("{SERVER}{TENANT_AND_TRUNK}");
    assert!(good.contains(from), "{from}");
    files.problems(&good.replacen(from, to, 1))
}

#[test]
fn tenants_and_routes_are_checked_against_each_other() {
    let files = Files::new();
    for (from, to, problem) in [
        (
            "tenant_id = \"acme\"",
            "tenant_id = \"a/b\"",
            "tenants[0].tenant_id: \"a/b\" is not allowed; allowed: 1 to 64",
        ),
        (
            "trunk_id = \"echo\"",
            "trunk_id = \"ecco\"",
            "tenants[0].routes[0].trunk_id: there is no trunk \"ecco\"",
        ),
        (
            "vendor = \"browser\"",
            "vendor = \"browsers\"",
            "routes[0].vendor: is no vendor; allowed: \"browser\"",
        ),
        (
            "vendor = \"browser\"",
            "vendor = \"livekit\"",
            "routes[0].vendor: the livekit adapter is not in this version",
        ),
        (
            "vendor = \"browser\"",
            "vendor = \"twilio\"",
            "routes[0].vendor: the tenant has no [tenants.twilio] table",
        ),
        (
            "vendor = \"browser\"",
            "vendor = \"vapi\"",
            "routes[0].vendor: the tenant has no [tenants.vapi] table",
        ),
        (
            "[tenants.browser]",
            "[tenants.livekit]\nx = 1\n[tenants.browser]",
            "tenants[0].livekit: the livekit adapter is not in this version; it comes with a later one",
        ),
        (
            "[tenants.browser]",
            "outbound_hosts = [\"https://api.example.com\"]\n[tenants.browser]",
            "tenants[0].outbound_hosts: \"https://api.example.com\" is not allowed; allowed: a host name",
        ),
        (
            "[tenants.browser]",
            "outbound_hosts = [\"*.com\"]\n[tenants.browser]",
            "tenants[0].outbound_hosts: \"*.com\" is not allowed",
        ),
        (
            "\"https://app.example.com\"",
            "\"*\"",
            "tenants[0].browser.origins: \"*\" is not allowed",
        ),
        (
            "\"https://app.example.com\"",
            "\"https://app.example.com/\"",
            "browser.origins: \"https://app.example.com/\"",
        ),
        (
            "\"https://app.example.com\"",
            "\"https://App.example.com\"",
            "browser.origins: \"https://App.example.com\"",
        ),
        (
            "\"https://app.example.com\"",
            "\"https://app.example.com:443\"",
            "browser.origins: \"https://app.exa",
        ),
        (
            "kid = \"k1\"",
            "kid = \"gw-k1\"",
            "keys[0].kid: begins with \"gw-\", which is kept for the gateway's own key",
        ),
        (
            "alg = \"EdDSA\"",
            "alg = \"HS256\"",
            "keys[0].alg: \"HS256\" is not allowed; allowed: \"RS256\", \"ES256\"",
        ),
        (
            "alg = \"EdDSA\"",
            "alg = \"ES256\"",
            "keys[0].public_key_file: ed25519.pub.pem: no PEM public key for ES256",
        ),
        (
            "ed25519.pub.pem",
            "token-key.pem",
            "keys[0].public_key_file: token-key.pem: no PEM public key for EdDSA",
        ),
        (
            "ed25519.pub.pem",
            "nowhere.pem",
            "keys[0].public_key_file: nowhere.pem: No such file or directory",
        ),
    ] {
        let problems = changed(&files, from, to);
        assert!(
            problems.iter().any(|told| told.contains(problem)),
            "{from} -> {to}: {problems:#?}"
        );
    }
}

#[test]
fn ids_are_unique_and_trunks_belong_to_their_tenant() {
    let files = Files::new();
    let good = format!("{SERVER}{TENANT_AND_TRUNK}");
    let twice = |text: &str| files.problems(&format!("{good}{text}"));
    assert_eq!(
        twice("[[tenants]]\ntenant_id = \"acme\"\n"),
        ["gateway.toml:22:13: tenants[1].tenant_id: is the id of two tenants"]
    );
    assert_eq!(
        twice("[[trunks]]\ntrunk_id = \"echo\"\ntenant_id = \"acme\"\nkind = \"echo\"\n"),
        ["gateway.toml:22:12: trunks[1].trunk_id: is the id of two trunks"]
    );
    assert_eq!(
        twice("[[trunks]]\ntrunk_id = \"b\"\ntenant_id = \"umbrella\"\nkind = \"echo\"\n"),
        ["gateway.toml:23:13: trunks[1].tenant_id: there is no tenant \"umbrella\""]
    );
    assert_eq!(
        twice(
            "[[tenants]]\ntenant_id = \"b\"\n[tenants.browser]\n[[tenants.routes]]\nvendor = \"browser\"\ntrunk_id = \"echo\"\n"
        ),
        [
            "gateway.toml:26:12: tenants[1].routes[0].trunk_id: the trunk \"echo\" belongs to another tenant"
        ]
    );
    let key = "[[tenants.browser.keys]]\nkid = \"k1\"\nalg = \"ES256\"\npublic_key_file = \"es256.pub.pem\"\n";
    assert_eq!(
        changed(
            &files,
            "[[tenants.routes]]",
            &format!("{key}[[tenants.routes]]")
        ),
        [
            "gateway.toml:14:7: tenants[0].browser.keys[1].kid: is the kid of two keys of this tenant"
        ]
    );
}

#[test]
fn a_trunk_takes_the_fields_of_its_kind_only() {
    let files = Files::new();
    let echo = "kind = \"echo\"";
    for (to, problem) in [
        (
            "kind = \"websocket\"\nsip_username = \"x\"",
            "trunks[0].sip_username: belongs to kind \"sip\"",
        ),
        (
            "kind = \"websocket\"\ncodec_preferences = [\"PCMU\"]",
            "trunks[0].codec_preferences: has no effect on a websocket trunk: its audio is what agent_dialect says",
        ),
        (
            "kind = \"websocket\"",
            "trunks[0].inbound_ai_websocket_url: is missing",
        ),
        (
            "kind = \"pots\"",
            "trunks[0].kind: is no kind of trunk; allowed: \"echo\", \"rtp\", \"sip\", \"websocket\"",
        ),
        (
            "kind = \"echo\"\ncodec = \"G729\"",
            "trunks[0].codec: \"G729\" is not allowed; allowed: \"PCMU\", \"opus\"",
        ),
        (
            "kind = \"echo\"\nrtp_start_port = 20000",
            "trunks[0].rtp_start_port: has no effect on an echo trunk",
        ),
        (
            "kind = \"echo\"\nsip_username = \"x\"",
            "trunks[0].sip_username: belongs to kind \"sip\"",
        ),
        (
            "kind = \"echo\"\nadmin_token = \"x\"",
            "trunks[0].admin_token: has no effect: the admin window's token is admin.token_file",
        ),
        (
            "kind = \"echo\"\ninbound_ai_websocket_url = \"wss://x\"",
            "trunks[0].inbound_ai_websocket_url: belongs to kind \"websocket\", or to kind \"sip\" with inbound_rule = 3",
        ),
        (
            "kind = \"echo\"\nremote = \"192.0.2.1:4000\"",
            "trunks[0].remote: belongs to kind \"rtp\"",
        ),
        (
            "kind = \"echo\"\nchannel_limit = 0",
            "trunks[0].channel_limit: 0 is out of range; allowed: a whole number",
        ),
        ("kind = \"rtp\"", "trunks[0].remote: is missing"),
        (
            "kind = \"rtp\"\nremote = \"0.0.0.0:4000\"",
            "trunks[0].remote: \"0.0.0.0:4000\" is not allowed",
        ),
        (
            "kind = \"rtp\"\nremote = \"192.0.2.1:4000\"\ncodec = \"PCMU\"",
            "trunks[0].codec: belongs to kind \"echo\"",
        ),
        (
            "kind = \"rtp\"\nremote = \"192.0.2.1:4000\"\ntransport = \"udp\"",
            "trunks[0].transport: belongs to kind \"sip\"",
        ),
        (
            "kind = \"rtp\"\nremote = \"192.0.2.1:4000\"\ncodec_preferences = [\"PCMU\", \"opus\", \"pcmu\"]",
            "trunks[0].codec_preferences: names a codec twice",
        ),
        (
            "kind = \"rtp\"\nremote = \"192.0.2.1:4000\"\nrtp_start_port = 16385",
            "trunks[0].rtp_start_port: is odd; allowed: an even port",
        ),
        (
            "kind = \"rtp\"\nremote = \"192.0.2.1:4000\"\nrtp_start_port = 40000",
            "trunks[0].rtp_end_port: leaves no port pair; allowed: 40001 or more",
        ),
        (
            "kind = \"rtp\"\nremote = \"192.0.2.1:4000\"\nrtp_end_port = 65536",
            "trunks[0].rtp_end_port: 65536 is out of range; allowed: a whole number from 1024 to 65535",
        ),
    ] {
        let problems = changed(&files, echo, to);
        assert!(
            problems.iter().any(|told| told.contains(problem)),
            "{to}: {problems:#?}"
        );
    }
}
