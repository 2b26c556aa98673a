//! A trunk that registers: challenged with either hash, kept alive, given back at the end; without it there are no calls.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use loadtest::sip_peer::{Challenge, DigestAlgorithm};

/// What the registrar grants, much less than we ask for.
const GRANTED_S: u32 = 20;
const PASSWORD: &str = "s3cret";

/// A far end that is a registrar too, and challenges whatever comes.
fn registrar(algorithm: DigestAlgorithm) -> SipPeer {
    far_end_with(AudioCodec::Pcmu, |config| {
        config.registrar_expires_max_s = Some(GRANTED_S);
        config.challenge = Some(Challenge {
            realm: "carrier".into(),
            username: "line1".into(),
            password: PASSWORD.into(),
            algorithm,
            nonce_uses_max: 1,
        });
    })
}

/// A file with the trunk's password. Dropping it takes it away.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn new(setup: &SipSetup, password: &str) -> Self {
        let name = format!("clutchcall-registration-{}", setup.sip_port);
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{password}\n")).unwrap();
        Self(path)
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn registering(peer: &SipPeer, password: &str) -> (SipSetup, PasswordFile) {
    let mut setup = SipSetup::new(peer, AudioCodec::Pcmu);
    let file = PasswordFile::new(&setup, password);
    // Without OPTIONS nothing but the registration says whether the trunk is up.
    setup.trunk_lines = format!(
        "require_registration = true\nsip_username = \"line1\"\nsip_password_file = \"{}\"\noptions_interval_s = 0\n",
        file.0.display()
    );
    (setup, file)
}

fn is_up(gateway: &Gateway) -> bool {
    gateway.metrics().unwrap().sum("clutchcall_sip_trunk_up") > 0.0
}

fn wait_until_up(gateway: &Gateway) {
    let deadline = in_time();
    while !is_up(gateway) {
        assert!(Instant::now() < deadline, "the trunk is down");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Why a call is refused.
fn refusal(gateway: &Gateway) -> String {
    let refused = WebRtcCall::dial(&plan(gateway, AudioCodec::Opus)).err();
    refused.expect("the trunk is down").to_string()
}

fn registers(algorithm: DigestAlgorithm) {
    let peer = registrar(algorithm);
    peer.set_silent(true);
    let (setup, _password) = registering(&peer, PASSWORD);
    let mut gateway = setup.start();
    let refused = refusal(&gateway);
    assert!(
        refused.contains("not registered") && refused.contains("fault trunk"),
        "{refused}"
    );
    assert!(!is_up(&gateway));
    assert!(peer.calls().is_empty(), "no INVITE was sent");

    peer.set_silent(false);
    let registration = peer.wait_for_registration(in_time()).unwrap();
    assert!(
        registration.address_of_record.starts_with("sip:line1@"),
        "{registration:?}"
    );
    wait_until_up(&gateway);
    let (call, at_peer) = dial(&gateway, &peer, AudioCodec::Opus);
    both_talk(&call, &peer, at_peer, Bar::OpusClean);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);

    // It outlives what was granted, since it is refreshed.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(GRANTED_S.into()) {
        assert_eq!(peer.registrations().len(), 1, "{:?}", began.elapsed());
        assert!(is_up(&gateway));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(peer.registrations()[0].refreshes >= 1);
    let (call, _) = dial_again(&gateway, &peer, 1);
    call.hang_up().unwrap();

    gateway.signal("TERM").unwrap();
    peer.wait_for_message("REGISTER with Expires: 0", in_time(), |message| {
        message.is("REGISTER") && message.header("Expires") == Some("0")
    })
    .unwrap();
    let status = gateway.wait_for_exit(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}");
    assert!(peer.registrations().is_empty(), "it was given back");
}

/// As [`dial`], for the far end's `number`th call.
fn dial_again(gateway: &Gateway, peer: &SipPeer, number: usize) -> (WebRtcCall, CallId) {
    let call = WebRtcCall::dial(&plan(gateway, AudioCodec::Opus)).unwrap();
    let at_peer = peer.wait_for_incoming(number, in_time()).unwrap();
    peer.wait_for_state(at_peer, CallState::Answered, in_time())
        .unwrap();
    (call, at_peer)
}

#[test]
fn registers_with_md5_stays_so_and_gives_it_back() {
    registers(DigestAlgorithm::Md5);
}

#[test]
fn registers_with_sha_256_stays_so_and_gives_it_back() {
    registers(DigestAlgorithm::Sha256);
}

#[test]
fn with_a_wrong_password_the_trunk_is_down_and_says_why() {
    let peer = registrar(DigestAlgorithm::Sha256);
    let (setup, _password) = registering(&peer, "wr0ng");
    let gateway = setup.start();
    let deadline = in_time();
    let refused = loop {
        let refused = refusal(&gateway);
        // Before the registrar's word it is not registered yet.
        if refused.contains("sip_password") || Instant::now() > deadline {
            break refused;
        }
    };
    assert!(
        refused.contains("not registered") && refused.contains("sip_password"),
        "{refused}"
    );
    assert!(!refused.contains("wr0ng"), "{refused}");
    assert!(!is_up(&gateway));
    assert!(peer.registrations().is_empty() && peer.calls().is_empty());
    assert!(!gateway.log().contains("wr0ng"));
    end(gateway);
}
