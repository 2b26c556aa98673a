//! `webrtc.ice_servers`: URLs, and tables with the secret of a TURN server.

use super::*;

#[test]
fn urls_and_tables_stand_side_by_side_and_the_secret_is_shown_nowhere() {
    let files = Files::new();
    files.write("turn-secret", "north-wind-and-the-sun\n");
    let (config, report) = files
        .read(&format!(
            "{SERVER}[webrtc]\nice_servers = [\"stun:stun.example.com\", {{ urls = [\"turn:turn.example.com\", \
             \"turns:turn.example.com?transport=tcp\"], secret_file = \"turn-secret\" }}]\n"
        ))
        .unwrap();
    let [stun, turn] = config.webrtc.ice_servers.as_slice() else {
        panic!("{config:?}")
    };
    assert_eq!(
        (&stun.urls[..], &stun.turn),
        (&["stun:stun.example.com".to_owned()][..], &None)
    );
    assert_eq!(turn.urls.len(), 2);
    let shared = turn.turn.as_ref().unwrap();
    assert_eq!(shared.secret.expose(), "north-wind-and-the-sun");
    assert_eq!(shared.credential_lifetime_s, 86_400);
    let effective = report.effective.to_string();
    assert!(!format!("{config:?}{effective}").contains("north-wind"));
    for line in [
        "webrtc.ice_servers[0] = \"stun:stun.example.com\"  # ",
        "webrtc.ice_servers[1].secret_file = \"turn-secret\"  # ",
        "webrtc.ice_servers[1].credential_lifetime_s = 86400  # default",
    ] {
        assert!(effective.contains(line), "{line} in {effective}");
    }

    let (config, report) = files
        .read(&format!(
            "{SERVER}[[webrtc.ice_servers]]\nurls = [\"turn:turn.example.com\"]\nsecret = \"env:ADMIN\"\n\
             credential_lifetime_s = 300\n"
        ))
        .unwrap();
    let shared = config.webrtc.ice_servers[0].turn.as_ref().unwrap();
    assert_eq!(shared.secret.expose(), "fedcba9876543210");
    assert_eq!(shared.credential_lifetime_s, 300);
    assert!(!report.effective.to_string().contains("fedcba"));

    let (config, report) = files.read(SERVER).unwrap();
    assert!(config.webrtc.ice_servers.is_empty());
    assert!(
        report
            .effective
            .to_string()
            .contains("webrtc.ice_servers = []  # default")
    );
}

#[test]
fn a_secret_that_everybody_reads_is_worth_a_warning() {
    let files = Files::new();
    files.write("turn-secret", "north-wind-and-the-sun");
    fs::set_permissions(files.path("turn-secret"), fs::Permissions::from_mode(0o644)).unwrap();
    let (_, report) = files
        .read(&format!(
            "{SERVER}[[webrtc.ice_servers]]\nurls = [\"turn:turn.example.com\"]\nsecret_file = \"turn-secret\"\n"
        ))
        .unwrap();
    let warnings = files.lines(&report.warnings.to_string());
    let wanted = "gateway.toml:6:15: webrtc.ice_servers[0].secret_file: every user of this machine can read turn-secret";
    assert!(warnings.iter().any(|line| line == wanted), "{warnings:?}");
}

#[test]
fn what_a_page_could_not_use_is_refused_with_its_place() {
    let files = Files::new();
    let needs = "a page can't use turn: and turns: without credentials (W3C WebRTC, RTCIceServer); allowed: a table with \
                 urls and secret_file";
    let url = "stun:, stuns:, turn: or turns: with HOST[:PORT], the last two also with ?transport=udp or tcp (RFC 7064, \
               7065)";
    for (lines, problem) in [
        (
            "[webrtc]\nice_servers = [\"turn:turn.example.com\"]",
            format!("gateway.toml:5:16: webrtc.ice_servers[0]: {needs}"),
        ),
        (
            "[webrtc]\nice_servers = [\"stun://stun.example.com\"]",
            format!(
                "gateway.toml:5:16: webrtc.ice_servers[0]: \"stun://stun.example.com\" is not allowed; allowed: {url}"
            ),
        ),
        (
            "[webrtc]\nice_servers = [3478]",
            "gateway.toml:5:16: webrtc.ice_servers[0]: is a whole number; allowed: a list of texts and tables".to_owned(),
        ),
        (
            "[webrtc]\nice_servers = [\"stun:a\", \"stun:a\", \"stun:a\", \"stun:a\", \"stun:a\", \"stun:a\", \
             \"stun:a\", \"stun:a\", \"stun:a\"]",
            "gateway.toml:5:15: webrtc.ice_servers: 9 entries are too many; allowed: at most 8".to_owned(),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = [\"turn:turn.example.com\"]",
            format!("gateway.toml:5:8: webrtc.ice_servers[0].urls: {needs}"),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = [\"stun:stun.example.com\"]\nsecret_file = \"admin-token\"",
            "gateway.toml:5:8: webrtc.ice_servers[0].urls: names no turn: or turns: URL; a secret is for nothing else"
                .to_owned(),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = [\"stun:stun.example.com\"]\ncredential_lifetime_s = 300",
            "gateway.toml:6:1: webrtc.ice_servers[0].credential_lifetime_s: is for servers with a secret".to_owned(),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = []",
            "gateway.toml:5:8: webrtc.ice_servers[0].urls: names no URL; allowed: at least one".to_owned(),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = [\"turn:turn.example.com\"]\nsecret_file = \"nowhere\"",
            "gateway.toml:6:15: webrtc.ice_servers[0].secret_file: nowhere: No such file or directory (os error 2)"
                .to_owned(),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = [\"turn:turn.example.com\"]\nsecret = \"hunter2\"",
            "gateway.toml:6:10: webrtc.ice_servers[0].secret: a secret is never written here; allowed: secret_file = \
             \"PATH\", or secret = \"env:NAME\" for the environment variable NAME"
                .to_owned(),
        ),
        (
            "[[webrtc.ice_servers]]\nurls = [\"turn:turn.example.com\"]\nsecret_file = \"admin-token\"\n\
             credential_lifetime_s = 60",
            "gateway.toml:7:25: webrtc.ice_servers[0].credential_lifetime_s: 60 is out of range; allowed: a whole number \
             from 300 to 604800"
                .to_owned(),
        ),
    ] {
        files.assert_refused(&format!("{lines}\n"), &problem);
    }
}
