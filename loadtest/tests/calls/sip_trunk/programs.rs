//! SIP programs of others against the gateway: baresip by TLS and SRTP, directly and through Kamailio; SIPp as caller and callee.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;
use loadtest::judge::{Playback, Question, judge};
use loadtest::sip_programs::{
    Baresip, BaresipAccount, BaresipConfig, BaresipTransport, Kamailio, KamailioConfig,
    KamailioTls, KamailioUser, MediaEncryption, Sipp, SippConfig, SippScenario,
};
use server::call::EventType;

/// A certificate for loopback that signs itself: the certificate, and with its key in one file.
struct Certificate(tempfile::TempDir);

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
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A phone by TLS.
fn phone(certificate: &Certificate, codec: AudioCodec, ca_file: Option<PathBuf>) -> BaresipConfig {
    BaresipConfig {
        user: "+15550100".to_owned(),
        account: None,
        transport: BaresipTransport::Tls,
        ca_file,
        certificate: Some(certificate.path("both.pem")),
        codec,
        encryption: MediaEncryption::SdesMandatory,
        answers: true,
        speech: speech::bravo(),
    }
}

/// The phone speaks from the answer on, the browser now; what the browser hears is judged.
fn the_browser_hears_the_phone(call: &WebRtcCall) {
    let (alpha, bravo) = (speech::alpha(), speech::bravo());
    call.speak(&alpha, Playback::Once);
    let longest_ms = alpha.duration_ms().max(bravo.duration_ms());
    std::thread::sleep(Duration::from_millis(longest_ms as u64 + 1000));
    let heard = call.recording().unwrap();
    let verdict = judge(&bravo, &heard.audio, &Question::new(Bar::OpusClean)).unwrap();
    assert!(verdict.pass, "the browser heard: {verdict}");
}

/// Once the call is over.
fn the_phone_heard_the_browser(phone: &mut Baresip) {
    phone.wait_for("CALL_CLOSED", in_time()).unwrap();
    let heard = phone.heard().unwrap();
    let question = Question::new(Bar::OpusClean);
    let verdict = judge(&speech::alpha(), &heard, &question).unwrap();
    assert!(verdict.pass, "the phone heard: {verdict}\n{}", phone.log());
}

/// TLS with the phone's certificate as the only authority, and SRTP or no call.
fn secured(certificate: &Certificate) -> String {
    format!(
        "transport = \"tls\"\nsrtp = true\ntls_ca_file = \"{}\"\noptions_interval_s = 0\n",
        certificate.path("cert.pem").display()
    )
}

#[test]
fn baresip_calls_a_page_by_tls_with_srtp() {
    let certificate = Certificate::new();
    // Where it listens matters not: it is the one that calls.
    let mut setup = SipSetup::towards(5061, AudioCodec::Pcma);
    setup.inbound = TO_A_PAGE.to_owned();
    setup.trunk_lines = secured(&certificate);
    let gateway = setup.start();
    let mut page = WebRtcCall::connect(&plan(&gateway, AudioCodec::Opus)).unwrap();
    incoming::wait_until_waiting(&gateway, 1);
    let ca_file = Some(gateway.file("cert.pem"));
    let mut phone = Baresip::start(&phone(&certificate, AudioCodec::Pcma, ca_file)).unwrap();
    phone
        .command(&format!("dial {};transport=tls", setup.uri("+15550123")))
        .unwrap();
    let call_sid = page.wait_for_incoming(|from, to| {
        assert_eq!((from, to), ("+15550100", "+15550123"));
    });
    page.accept(&call_sid.unwrap()).unwrap();
    phone.wait_for("CALL_ESTABLISHED", in_time()).unwrap();
    the_browser_hears_the_phone(&page);
    phone.command("hangup").unwrap();
    let report = page.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    the_phone_heard_the_browser(&mut phone);
    // Its connection is kept for the next call, as long as it is there.
    drop(phone);
    end(gateway);
}

#[test]
fn baresip_is_called_by_tls_with_srtp() {
    let certificate = Certificate::new();
    let config = phone(&certificate, AudioCodec::Pcma, None);
    let mut phone = Baresip::start(&config).unwrap();
    let mut setup = SipSetup::towards(phone.addr().port(), AudioCodec::Pcma);
    setup.trunk_lines = secured(&certificate);
    let gateway = setup.start();
    let call = WebRtcCall::dial(&plan(&gateway, AudioCodec::Opus)).unwrap();
    phone.wait_for("CALL_ESTABLISHED", in_time()).unwrap();
    the_browser_hears_the_phone(&call);
    let report = call.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    the_phone_heard_the_browser(&mut phone);
    // Its connection is kept for the next call, as long as it is there.
    drop(phone);
    end(gateway);
}

#[test]
fn baresip_calls_and_is_called_through_kamailio() {
    let certificate = Certificate::new();
    let mut setup = SipSetup::towards(0, AudioCodec::Pcmu);
    let kamailio = Kamailio::start(&KamailioConfig {
        inside: (Ipv4Addr::LOCALHOST, setup.sip_port).into(),
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
            sha256: false,
        }),
    })
    .unwrap();
    setup.far_end_port = kamailio.addr().port();
    setup.inbound = TO_A_PAGE.to_owned();
    let gateway = setup.start();
    let start_phone = || {
        let mut phone = Baresip::start(&BaresipConfig {
            account: Some(BaresipAccount {
                username: "phone".to_owned(),
                password: "secret".to_owned(),
                proxy: kamailio.tls_addr(),
                register_s: 60,
            }),
            encryption: MediaEncryption::None,
            ..phone(
                &certificate,
                AudioCodec::Pcmu,
                Some(certificate.path("cert.pem")),
            )
        })
        .unwrap();
        phone.wait_for_registration(in_time()).unwrap();
        phone
    };

    let mut phone = start_phone();
    let mut page = WebRtcCall::connect(&plan(&gateway, AudioCodec::Opus)).unwrap();
    incoming::wait_until_waiting(&gateway, 1);
    let uri = format!("sip:+15550123@{};transport=tls", kamailio.tls_addr());
    phone.command(&format!("dial {uri}")).unwrap();
    let call_sid = page.wait_for_incoming(|_, to| assert_eq!(to, "+15550123"));
    page.accept(&call_sid.unwrap()).unwrap();
    phone.wait_for("CALL_ESTABLISHED", in_time()).unwrap();
    the_browser_hears_the_phone(&page);
    // Our BYE has to find its way by the Record-Routes: by UDP to the proxy, by TLS to the phone.
    let report = page.hang_up().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    the_phone_heard_the_browser(&mut phone);
    drop(phone);

    let mut phone = start_phone();
    let call = WebRtcCall::dial(&plan(&gateway, AudioCodec::Opus)).unwrap();
    phone.wait_for("CALL_ESTABLISHED", in_time()).unwrap();
    the_browser_hears_the_phone(&call);
    phone.command("hangup").unwrap();
    let report = call.wait_for_end().unwrap();
    assert_events(&gateway, &report, &WHOLE_CALL);
    the_phone_heard_the_browser(&mut phone);
    end(gateway);
}

#[test]
fn sipp_calls_holds_and_takes_back() {
    const CALLS: u32 = 5;
    let mut setup = SipSetup::towards(5060, AudioCodec::Pcmu);
    setup.inbound =
        "[[tenants.inbound]]\ntrunk_id = \"carrier\"\nnumber = \"*\"\ntarget = \"echo\"\n"
            .to_owned();
    setup.media_pairs = 8;
    setup.trunk_lines = "options_interval_s = 0\n".to_owned();
    let gateway = setup.start();
    let target = (Ipv4Addr::LOCALHOST, setup.sip_port).into();
    let config = SippConfig::client(SippScenario::Text(CALLER.to_owned()), target, CALLS);
    let until = Instant::now() + Duration::from_secs(30);
    let outcome = Sipp::start(&config).unwrap().wait(until).unwrap();
    let successes = (outcome.successful, outcome.failed);
    assert_eq!(successes, (CALLS, 0), "{outcome:?}\n{}", gateway.log());
    let events = gateway.wait_for_events(in_time(), |events| {
        let is_end = |event_type| event_type == EventType::ChannelHangupComplete;
        let ends = events.iter().filter(|event| is_end(event.event_type));
        (ends.count() == CALLS as usize).then(|| events.to_vec())
    });
    use EventType::{
        ChannelAnswer, ChannelCreate, ChannelHangupComplete, ChannelHold, ChannelResume,
    };
    for event in events.expect("an end of each call") {
        assert_eq!(
            gateway.event_types(event.call_sid.as_str()),
            [
                ChannelCreate,
                ChannelAnswer,
                ChannelHold,
                ChannelResume,
                ChannelHangupComplete
            ]
        );
    }
    end(gateway);
}

#[test]
fn sipp_is_called_rings_with_early_media_and_changes_the_session() {
    let callee = SippConfig {
        calls: 1,
        ..SippConfig::server(SippScenario::Text(CALLEE.to_owned()))
    };
    let callee = Sipp::start(&callee).unwrap();
    let mut setup = SipSetup::towards(callee.addr().port(), AudioCodec::Pcmu);
    setup.trunk_lines = "options_interval_s = 0\n".to_owned();
    let gateway = setup.start();
    let call = WebRtcCall::dial(&plan(&gateway, AudioCodec::Opus)).unwrap();
    call.wait_for_event(EventType::ChannelHold, 1).unwrap();
    let report = call.hang_up().unwrap();
    use EventType::{ChannelAnswer, ChannelCreate, ChannelHangupComplete, ChannelHold};
    assert_events(
        &gateway,
        &report,
        &[
            ChannelCreate,
            ChannelAnswer,
            ChannelHold,
            ChannelHangupComplete,
        ],
    );
    let outcome = callee.wait(in_time()).unwrap();
    assert_eq!((outcome.successful, outcome.failed), (1, 0), "{outcome:?}");
    end(gateway);
}

/// Calls, holds, takes back, hangs up.
const CALLER: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="caller">
  <send retrans="500"><![CDATA[
INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv response="100" optional="true"></recv>
  <recv response="180" optional="true"></recv>
  <recv response="183" optional="true"></recv>
  <recv response="200" rrs="true"></recv>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
  <pause milliseconds="300"/>
  <send retrans="500"><![CDATA[
INVITE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 2 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendonly
]]></send>
  <recv response="100" optional="true"></recv>
  <recv response="200">
    <action>
      <ereg regexp="a=recvonly" search_in="body" check_it="true" assign_to="1"/>
      <log message="[$1]"/>
    </action>
  </recv>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 2 ACK
Content-Length: 0

]]></send>
  <pause milliseconds="300"/>
  <send retrans="500"><![CDATA[
INVITE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 3 INVITE
Contact: <sip:sipp@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 3 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv response="100" optional="true"></recv>
  <recv response="200"></recv>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 3 ACK
Content-Length: 0

]]></send>
  <pause milliseconds="300"/>
  <send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]-[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
Call-ID: [call_id]
CSeq: 4 BYE
Content-Length: 0

]]></send>
  <recv response="200"></recv>
</scenario>
"#;

/// Is called: early media, the answer, a re-INVITE that holds, and the other side's BYE.
const CALLEE: &str = r#"<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="callee">
  <recv request="INVITE" rrs="true">
    <action>
      <ereg regexp=".*" search_in="hdr" header="From:" assign_to="1"/>
      <ereg regexp=".*" search_in="hdr" header="To:" assign_to="2"/>
    </action>
  </recv>
  <send><![CDATA[
SIP/2.0 183 Session Progress
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <pause milliseconds="500"/>
  <send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[pid]-[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
]]></send>
  <recv request="ACK"></recv>
  <pause milliseconds="300"/>
  <send retrans="500"><![CDATA[
INVITE [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From:[$2];tag=[pid]-[call_number]
To:[$1]
[last_Call-ID:]
CSeq: 1 INVITE
Contact: <sip:[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=sipp 1 2 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [media_port] RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=sendonly
]]></send>
  <recv response="100" optional="true"></recv>
  <recv response="200"></recv>
  <send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From:[$2];tag=[pid]-[call_number]
To:[$1]
[last_Call-ID:]
CSeq: 1 ACK
Content-Length: 0

]]></send>
  <recv request="BYE"></recv>
  <send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"#;
