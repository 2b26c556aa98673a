//! `[tenants.twilio]`: the account, what keys its signatures, and its REST API.

use super::*;

const SID: &str = "AC11112222333344445555666677778888";
const TOKEN: &str = "api_bearer_token_file = \"admin-token\"\n";

/// The good file with a Twilio table whose first line is line 10, and more in the trunk.
fn with_twilio(lines: &str, trunk: &str) -> String {
    let table = format!("[tenants.twilio]\naccount_sid = \"{SID}\"\n{lines}[tenants.browser]");
    let tenant = TENANT_AND_TRUNK
        .replacen("[tenants.browser]", &table, 1)
        .replacen(
            "[[trunks]]",
            "[[tenants.routes]]\nvendor = \"twilio\"\ntrunk_id = \"echo\"\n[[trunks]]",
            1,
        );
    format!("{SERVER}public_url = \"wss://gw.example.com\"\n{tenant}{trunk}")
}

#[track_caller]
fn twilio(files: &Files, text: &str) -> (TwilioConfig, Report) {
    let (config, report) = files.read(text).unwrap();
    let tenant = &config.tenants[&"acme".parse().unwrap()];
    (tenant.twilio.clone().unwrap(), report)
}

#[test]
fn the_first_routes_trunk_keys_the_signatures() {
    let files = Files::new();
    let (twilio, report) = twilio(&files, &with_twilio("", TOKEN));
    let expected = TwilioConfig {
        trunk_id: Some("echo".parse().unwrap()),
        ..TwilioConfig::with_defaults(SID.to_owned(), Some(Secret::new("0123456789abcdef")))
    };
    assert_eq!(twilio, expected);
    assert_eq!((twilio.require_token, twilio.queue_ms_max), (false, 1_000));
    // That nothing opens the admin window is the fixture's doing.
    assert_eq!(report.warnings.0.len(), 1, "{}", report.warnings);
    let shown = report.effective.to_string();
    for line in [
        "tenants[0].twilio.require_token = false  # default",
        "tenants[0].twilio.queue_ms_max = 1000  # default",
        "trunks[0].api_bearer_token_file = \"admin-token\"  # ",
    ] {
        assert!(shown.contains(line), "{line} is not in {shown}");
    }
}

#[test]
fn a_named_trunk_keys_them_instead() {
    let files = Files::new();
    let other = "[[trunks]]\ntrunk_id = \"other\"\ntenant_id = \"acme\"\nkind = \"echo\"\napi_bearer_token = \"env:ADMIN\"\n";
    let (twilio, report) = twilio(
        &files,
        &with_twilio("trunk_id = \"other\"\n", &format!("{TOKEN}{other}")),
    );
    assert_eq!(twilio.trunk_id, Some("other".parse().unwrap()));
    assert_eq!(twilio.auth_token, Some(Secret::new("fedcba9876543210")));
    let warnings = report.warnings.to_string();
    assert!(
        warnings.contains(
            "trunks[0].api_bearer_token_file: has no effect: the tenant's [tenants.twilio] is not"
        ),
        "{warnings}"
    );
}

#[test]
fn every_field_of_twilio_is_read() {
    let files = Files::new();
    let lines = "require_token = true\nqueue_ms_max = 2000\napi_key_sid = \"SK9999000011112222333344445555AAAA\"\n\
                 api_key_secret_file = \"admin-token\"\napi_url = \"https://127.0.0.1:8080\"\nca_file = \"cert.pem\"\n\
                 [tenants.twilio.shared_keys]\nCK1 = \"file:admin-token\"\nCK2 = \"env:ADMIN\"\n";
    let text = with_twilio(lines, "").replacen(
        "tenant_id = \"acme\"\n",
        "tenant_id = \"acme\"\noutbound_hosts = [\"127.0.0.1\"]\n",
        1,
    );
    let (twilio, report) = twilio(&files, &text);
    assert!(twilio.require_token && twilio.auth_token.is_none());
    assert_eq!(twilio.queue_ms_max, 2_000);
    let keys: Vec<_> = (twilio.shared_keys.iter())
        .map(|(id, key)| (id.as_str(), key.expose()))
        .collect();
    assert_eq!(
        keys,
        [("CK1", "0123456789abcdef"), ("CK2", "fedcba9876543210")]
    );
    let rest = twilio.rest.clone().unwrap();
    assert_eq!(rest.api_url, "https://127.0.0.1:8080");
    assert_eq!(rest.ca_file, Some(files.path("cert.pem")));
    assert_eq!(rest.api_key_sid, "SK9999000011112222333344445555AAAA");
    assert_eq!(rest.api_key_secret.expose(), "0123456789abcdef");
    let told = format!("{twilio:?}{}", report.effective);
    assert!(
        !told.contains("0123456789abcdef") && !told.contains("fedcba9876543210"),
        "{told}"
    );
    assert!(told.contains("twilio.shared_keys.CK1 = \"file:admin-token\""));
    assert!(told.contains("twilio.shared_keys.CK2 = \"env:ADMIN\""));
}

/// The first line is line 10 of the file.
#[test]
fn mistakes_of_twilio_are_told_with_their_place() {
    let files = Files::new();
    files.write("short", "short");
    let key = "api_key_sid = \"SK9999000011112222333344445555aaaa\"\n";
    for (lines, trunk, problem) in [
        (
            "",
            "",
            "8:1: tenants[0].twilio.trunk_id: no signature can be verified: the trunk \"echo\" has no api_bearer_token_file",
        ),
        (
            "trunk_id = \"none\"\n",
            TOKEN,
            "10:12: tenants[0].twilio.trunk_id: there is no trunk \"none\"",
        ),
        (
            "require_token = 1\n",
            TOKEN,
            "10:17: tenants[0].twilio.require_token: is a whole number; allowed: true or false",
        ),
        (
            "queue_ms_max = 1\n",
            TOKEN,
            "10:16: tenants[0].twilio.queue_ms_max: 1 is out of range",
        ),
        (
            "shared_keys = { CK1 = \"hunter2\" }\n",
            TOKEN,
            "10:23: tenants[0].twilio.shared_keys.CK1: a secret is never written here; allowed: \"file:PATH\", or \"env:NAME\"",
        ),
        (
            "shared_keys = { CK1 = \"file:short\" }\n",
            TOKEN,
            "10:23: tenants[0].twilio.shared_keys.CK1: short holds no secret; allowed: one line of 16",
        ),
        (
            "shared_keys = { CK1 = \"env:NONE\" }\n",
            TOKEN,
            "10:23: tenants[0].twilio.shared_keys.CK1: the environment variable NONE is not set",
        ),
        (
            "shared_keys = { CK1 = 1 }\n",
            TOKEN,
            "10:23: tenants[0].twilio.shared_keys.CK1: is a whole number; allowed: a text in quotes",
        ),
        (
            "api_key_sid = \"SK1\"\napi_key_secret = \"env:ADMIN\"\n",
            TOKEN,
            "10:15: tenants[0].twilio.api_key_sid: \"SK1\" is not allowed; allowed: SK",
        ),
        (
            "api_key_secret = \"env:ADMIN\"\n",
            TOKEN,
            "10:18: tenants[0].twilio.api_key_secret: needs api_key_sid",
        ),
        (
            key,
            TOKEN,
            "10:15: tenants[0].twilio.api_key_sid: needs api_key_secret_file or api_key_secret",
        ),
        (
            "shared_keys = {}\n",
            "",
            "8:1: tenants[0].twilio.trunk_id: no signature can be verified: the trunk \"echo\" has no api_bearer_token_file",
        ),
        (
            "ca_file = \"cert.pem\"\n",
            TOKEN,
            "10:1: tenants[0].twilio.ca_file: is for api_key_sid and its secret",
        ),
        (
            "api_url = \"https://api.twilio.com\"\n",
            TOKEN,
            "10:1: tenants[0].twilio.api_url: is for api_key_sid and its secret",
        ),
        (
            &format!("{key}api_key_secret = \"env:ADMIN\"\n"),
            TOKEN,
            "8:1: tenants[0].twilio.api_url: \"api.twilio.com\" is none of the hosts that the gateway may dial for the \
             tenant; allow it: outbound_hosts = [\"api.twilio.com\"] in this tenant's [[tenants]]",
        ),
        (
            "auth_token = \"x\"\n",
            TOKEN,
            "10:1: tenants[0].twilio.auth_token: unknown key; allowed: trunk_id, account_sid",
        ),
    ] {
        let problems = files.problems(&with_twilio(lines, trunk));
        assert!(
            problems
                .iter()
                .any(|told| told.starts_with(&format!("gateway.toml:{problem}"))),
            "{lines}\n{problem}\n{problems:#?}"
        );
    }
    let wrong_sid = with_twilio("", TOKEN).replace(SID, "AC1");
    assert_eq!(
        files.problems(&wrong_sid),
        [
            "gateway.toml:9:15: tenants[0].twilio.account_sid: \"AC1\" is not allowed; allowed: AC and 32 hexadecimal digits"
        ]
    );
    let without_route =
        with_twilio("", TOKEN).replace("vendor = \"twilio\"", "vendor = \"browser\"");
    let problems = files.problems(&without_route);
    assert!(
        problems[0].contains("there is neither trunk_id nor a route of vendor \"twilio\""),
        "{problems:?}"
    );
    let nobody_signs = with_twilio("require_token = true\n", TOKEN);
    let key = "[[tenants.browser.keys]]\nkid = \"k1\"\nalg = \"EdDSA\"\npublic_key_file = \"ed25519.pub.pem\"\n";
    assert!(nobody_signs.contains(key));
    let problems = files.problems(&nobody_signs.replace(key, ""));
    assert!(
        problems[0].contains("twilio.require_token: nobody signs such tokens"),
        "{problems:?}"
    );
}

#[test]
fn without_a_public_url_no_signature_is_right() {
    let files = Files::new();
    let text = with_twilio("", TOKEN).replace("public_url = \"wss://gw.example.com\"\n", "");
    let (_, report) = twilio(&files, &text);
    let warnings = report.warnings.to_string();
    assert!(
        warnings.contains("without server.public_url none is right"),
        "{warnings}"
    );
}

/// What is wrong stands where it is wrong, and nowhere else.
#[test]
fn one_mistake_is_told_once() {
    let files = Files::new();
    let rest = "api_key_sid = \"SK9999000011112222333344445555aaaa\"\napi_key_secret = \"env:ADMIN\"\n\
                api_url = \"https://api.twilio.com/\"\n";
    let broken = "[[trunks]]\ntrunk_id = \"broken\"\ntenant_id = \"acme\"\nkind = \"echos\"\n";
    for (lines, trunk, problem) in [
        (
            "",
            "api_bearer_token_file = \"none\"\n",
            "trunks[0].api_bearer_token_file: none: ",
        ),
        (
            "shared_keys = { CK1 = \"env:NONE\" }\n",
            "",
            "twilio.shared_keys.CK1: the environment variable NONE is not set",
        ),
        (
            rest,
            TOKEN,
            "twilio.api_url: \"https://api.twilio.com/\" is not allowed; allowed: https://HOST[:PORT]",
        ),
        (
            "trunk_id = \"broken\"\n",
            broken,
            "trunks[1].kind: is no kind of trunk",
        ),
    ] {
        let problems = files.problems(&with_twilio(lines, trunk));
        assert!(
            problems.len() == 1 && problems[0].contains(problem),
            "{lines}\n{problem}\n{problems:#?}"
        );
    }
    let unknown = with_twilio("", "").replacen(
        "vendor = \"twilio\"\ntrunk_id = \"echo\"",
        "vendor = \"twilio\"\ntrunk_id = \"none\"",
        1,
    );
    let problems = files.problems(&unknown);
    assert!(
        problems.len() == 1
            && problems[0].contains("routes[1].trunk_id: there is no trunk \"none\""),
        "{problems:#?}"
    );
}
