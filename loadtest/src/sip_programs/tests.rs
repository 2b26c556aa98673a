//! Every program against our own far end or another one, so that they are known good before a gateway is tried with them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use crate::judge::{Bar, Playback, Question, judge};
use crate::media::AudioCodec;
use crate::sip_peer::{
    CallState, Challenge, DigestAlgorithm, OutgoingCall, SipPeer, SipPeerConfig, answer_after,
};
use crate::speech;

fn in_s(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn far_end(change: impl FnOnce(&mut SipPeerConfig)) -> SipPeer {
    let mut config = SipPeerConfig::new(Ipv4Addr::LOCALHOST.into(), AudioCodec::Pcmu);
    change(&mut config);
    SipPeer::start(config).unwrap()
}

/// A certificate for loopback that signs itself: certificate, key, and both in one file.
struct Certificate {
    directory: tempfile::TempDir,
}

impl Certificate {
    fn new() -> Self {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("cert.pem", &certificate);
        write("key.pem", &key);
        write("both.pem", &format!("{certificate}{key}"));
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn phone(codec: AudioCodec) -> BaresipConfig {
    BaresipConfig {
        user: "phone".to_owned(),
        account: None,
        transport: BaresipTransport::Udp,
        ca_file: None,
        certificate: None,
        codec,
        encryption: MediaEncryption::None,
        answers: true,
        speech: speech::bravo(),
    }
}

#[test]
fn sipp_calls_and_is_called() {
    let callee = far_end(|config| config.script = answer_after(Duration::from_millis(20)));
    let client = SippConfig {
        calls_per_s: 20,
        arguments: vec!["-d".to_owned(), "100".to_owned()],
        ..SippConfig::client(SippScenario::BuiltIn("uac"), callee.local_addr(), 20)
    };
    let outcome = Sipp::start(&client).unwrap().wait(in_s(20)).unwrap();
    assert_eq!((outcome.successful, outcome.failed), (20, 0), "{outcome:?}");
    assert_eq!(callee.calls().len(), 20);

    let server = Sipp::start(&SippConfig::server(SippScenario::BuiltIn("uas"))).unwrap();
    let caller = far_end(|_| {});
    let call = caller.call(OutgoingCall::new(&format!("sip:service@{}", server.addr())));
    caller
        .wait_for_state(call, CallState::Answered, in_s(5))
        .unwrap();
    caller.hang_up(call);
    caller
        .wait_for(call, "200 to BYE", in_s(5), |call| {
            (!call.answers.is_empty()).then_some(())
        })
        .unwrap();
}

/// A phone by TLS and digest, a proxy that stays in the way, a far end by UDP: speech both ways, hold, hang-up.
#[test]
fn baresip_calls_through_kamailio() {
    for sha256 in [false, true] {
        let certificate = Certificate::new();
        let callee = far_end(|_| {});
        let kamailio = Kamailio::start(&KamailioConfig {
            inside: callee.local_addr(),
            outside: None,
            tls: Some(KamailioTls {
                certificate: certificate.path("cert.pem"),
                key: certificate.path("key.pem"),
                ca_file: None,
            }),
            user: Some(KamailioUser {
                realm: "carrier".to_owned(),
                username: "phone".to_owned(),
                password: "secret".to_owned(),
                sha256,
            }),
        })
        .unwrap();
        // baresip knows MD5 alone: with SHA-256 our own far end calls.
        if sha256 {
            let caller = far_end(|config| {
                config.credentials = Some(crate::sip_peer::Credentials {
                    username: "phone".to_owned(),
                    password: "secret".to_owned(),
                });
            });
            let call = caller.call(OutgoingCall::new(&format!(
                "sip:callee@{}",
                kamailio.addr()
            )));
            caller
                .wait_for_state(call, CallState::Answered, in_s(5))
                .unwrap();
            caller.hang_up(call);
            let theirs = callee.wait_for_incoming(0, in_s(5)).unwrap();
            callee
                .wait_for_state(theirs, CallState::Ended, in_s(5))
                .unwrap();
            continue;
        }
        let mut phone = Baresip::start(&BaresipConfig {
            account: Some(BaresipAccount {
                username: "phone".to_owned(),
                password: "secret".to_owned(),
                proxy: kamailio.tls_addr(),
                register_s: 60,
            }),
            transport: BaresipTransport::Tls,
            ca_file: Some(certificate.path("cert.pem")),
            certificate: Some(certificate.path("both.pem")),
            ..phone(AudioCodec::Pcmu)
        })
        .unwrap();
        phone.wait_for_registration(in_s(10)).unwrap();
        phone
            .command(&format!(
                "dial sip:callee@{};transport=tls",
                kamailio.tls_addr()
            ))
            .unwrap();
        let call = callee.wait_for_incoming(0, in_s(10)).unwrap();
        callee
            .wait_for_state(call, CallState::Answered, in_s(5))
            .unwrap();
        let invite = callee
            .wait_for_message("INVITE", in_s(1), |message| message.is("INVITE"))
            .unwrap();
        assert!(
            invite.all("Record-Route").count() >= 2,
            "in by TLS, out by UDP: {invite}"
        );
        phone.wait_for("CALL_ESTABLISHED", in_s(5)).unwrap();
        speech_both_ways(&callee, call, &mut phone, Bar::PcmuToRtp, |_| {
            callee.hang_up(call);
        });

        // And the other way: who is registered is called.
        callee.set_script(Vec::new());
        let call = callee.call(OutgoingCall {
            next_hop: Some(kamailio.addr()),
            ..OutgoingCall::new(&format!("sip:phone@{}", kamailio.addr()))
        });
        callee
            .wait_for_state(call, CallState::Answered, in_s(10))
            .unwrap();
        phone.command("hangup").unwrap();
        let ended = callee
            .wait_for_state(call, CallState::Ended, in_s(5))
            .unwrap();
        assert!(ended.ended_by_other);
    }
}

/// The phone speaks from the answer on; the far end speaks now. The call is over then.
fn speech_both_ways(
    far_end: &SipPeer,
    call: crate::sip_peer::CallId,
    phone: &mut Baresip,
    bar: Bar,
    hang_up: impl FnOnce(&mut Baresip),
) {
    let (alpha, bravo) = (speech::alpha(), speech::bravo());
    let source = far_end.view(call).remote_rtp.unwrap();
    far_end.rtp().wait_for_source(0, in_s(5)).unwrap();
    far_end.rtp().speak(source, &alpha, Playback::Once).unwrap();
    let longest_ms = alpha.duration_ms().max(bravo.duration_ms());
    std::thread::sleep(Duration::from_millis(longest_ms as u64 + 1000));
    let recording = far_end.rtp().recording(source).unwrap();
    let verdict = judge(&bravo, &recording.audio, &Question::new(bar)).unwrap();
    assert!(verdict.pass, "the far end heard: {verdict}");
    hang_up(phone);
    far_end
        .wait_for_state(call, CallState::Ended, in_s(5))
        .unwrap();
    phone.wait_for("CALL_CLOSED", in_s(5)).unwrap();
    let heard = phone.heard().unwrap();
    let verdict = judge(&alpha, &heard, &Question::new(Bar::OpusClean)).unwrap();
    assert!(verdict.pass, "the phone heard: {verdict}");
}

#[test]
fn baresip_speaks_every_codec() {
    for (codec, bar) in [
        (AudioCodec::Opus, Bar::OpusClean),
        (AudioCodec::L16, Bar::PcmuToRtp),
    ] {
        let mut phone = Baresip::start(&phone(codec)).unwrap();
        let caller = far_end(|config| {
            *config = SipPeerConfig::new(Ipv4Addr::LOCALHOST.into(), codec);
        });
        let call = caller.call(OutgoingCall::new(&phone.uri()));
        caller
            .wait_for_state(call, CallState::Answered, in_s(5))
            .unwrap();
        phone.wait_for("CALL_ESTABLISHED", in_s(5)).unwrap();
        speech_both_ways(&caller, call, &mut phone, bar, |phone| {
            phone.command("hangup").unwrap();
        });
    }
}

/// Two phones by TLS, and SRTP with keys in the SDP or no call.
#[test]
fn baresip_encrypts() {
    let certificate = Certificate::new();
    let encrypted = |user: &str| BaresipConfig {
        user: user.to_owned(),
        transport: BaresipTransport::Tls,
        ca_file: Some(certificate.path("cert.pem")),
        certificate: Some(certificate.path("both.pem")),
        encryption: MediaEncryption::SdesMandatory,
        ..phone(AudioCodec::Pcma)
    };
    let mut callee = Baresip::start(&encrypted("callee")).unwrap();
    let mut caller = Baresip::start(&encrypted("caller")).unwrap();
    caller.command(&format!("dial {}", callee.uri())).unwrap();
    callee.wait_for("CALL_ESTABLISHED", in_s(10)).unwrap();
    let bravo = speech::bravo();
    std::thread::sleep(Duration::from_millis(bravo.duration_ms() as u64 + 1000));
    caller.command("hangup").unwrap();
    callee.wait_for("CALL_CLOSED", in_s(5)).unwrap();
    for phone in [&caller, &callee] {
        let verdict = judge(
            &bravo,
            &phone.heard().unwrap(),
            &Question::new(Bar::OpusClean),
        )
        .unwrap();
        assert!(verdict.pass, "{verdict}");
    }
}

/// A scenario of our own; and registrations end.
#[test]
fn sipp_registers_with_a_digest() {
    let registrar = far_end(|config| {
        config.registrar_expires_max_s = Some(2);
        config.challenge = Some(Challenge {
            realm: "pbx".to_owned(),
            username: "acme".to_owned(),
            password: "secret".to_owned(),
            algorithm: DigestAlgorithm::Md5,
            nonce_uses_max: 1,
        });
    });
    let client = SippConfig {
        arguments: ["-au", "acme", "-ap", "secret"].map(str::to_owned).into(),
        ..SippConfig::client(
            SippScenario::Text(REGISTER.to_owned()),
            registrar.local_addr(),
            1,
        )
    };
    let outcome = Sipp::start(&client).unwrap().wait(in_s(20)).unwrap();
    assert_eq!((outcome.successful, outcome.failed), (1, 0), "{outcome:?}");
    let registration = registrar.wait_for_registration(in_s(1)).unwrap();
    assert!(registration.contact.starts_with("sip:acme@127.0.0.1:"));
    std::thread::sleep(Duration::from_millis(2100));
    assert!(registrar.registrations().is_empty(), "it has expired");
}

const REGISTER: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="register">
  <send><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:acme@[remote_ip]>;tag=[call_number]
To: <sip:acme@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:acme@[local_ip]:[local_port]>
Expires: 3600
Content-Length: 0

]]></send>
  <recv response="401" auth="true"></recv>
  <send><![CDATA[
REGISTER sip:[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:acme@[remote_ip]>;tag=[call_number]
To: <sip:acme@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:acme@[local_ip]:[local_port]>
Expires: 3600
[authentication]
Content-Length: 0

]]></send>
  <recv response="200"></recv>
</scenario>
"#;
