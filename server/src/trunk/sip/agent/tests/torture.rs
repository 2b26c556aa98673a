//! The messages of RFC 4475 that touch a user agent, named as there, and what each is answered.
//!
//! They come from the trunk's own address: a stranger would be told nothing. Headers that play no part are left out.

use super::*;

/// What a message leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// This status.
    Status(u16),
    /// Somebody is called.
    Call,
    /// Nothing: a response that belongs to nothing.
    Silence,
}
use Outcome::{Call, Silence, Status};

const SDP: &str = "v=0\r\no=mhandley 29739 7272939 IN IP4 192.0.2.3\r\ns=-\r\nc=IN IP4 192.0.2.4\r\nt=0 0\r\n\
    m=audio 49217 RTP/AVP 0 12\r\na=rtpmap:31 LPC\r\n";

/// A message of lines; `body` with its type and length behind them.
fn message(lines: &[&str], body: &str) -> Vec<u8> {
    let mut text = lines.join("\r\n");
    if body.is_empty() {
        text.push_str("\r\n\r\n");
    } else {
        let len = body.len();
        text.push_str(&format!(
            "\r\nContent-Type: application/sdp\r\nl: {len}\r\n\r\n{body}"
        ));
    }
    text.into_bytes()
}

/// Start line, and the fields that a case does not care about.
fn plain(name: &str, start: &str, extra: &[&str]) -> Vec<u8> {
    let method = start.split(' ').next().unwrap();
    let mut lines = vec![
        start.to_owned(),
        format!("Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKkdjuw{name}"),
        "Max-Forwards: 70".to_owned(),
        "From: <sip:caller@example.net>;tag=93942939o2".to_owned(),
        "To: <sip:user@example.com>".to_owned(),
        format!("Call-ID: {name}.31415@192.0.2.2"),
        format!("CSeq: 193942 {method}"),
        "Contact: <sip:caller@host5.example.net>".to_owned(),
    ];
    for field in extra {
        // A field of the case stands in place of the plain one.
        let field_name = field.split(':').next().unwrap();
        lines.retain(|line| !line.starts_with(&format!("{field_name}:")));
        lines.push((*field).to_owned());
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let body = if method == "INVITE" { SDP } else { "" };
    message(&lines, body)
}

fn inject(pair: &mut Pair, payload: &[u8]) {
    let received = Received {
        transport: SipTransport::Udp,
        local: "[::]:5060".parse().unwrap(),
        remote: SocketAddr::new(THEIRS.parse().unwrap(), 5060),
        connection: None,
        payload,
    };
    let now = pair.now;
    pair.ours.handle_received(now, &received);
    pair.deliver();
}

/// What came of it; an incoming call is refused again.
fn outcome(pair: &mut Pair, payload: &[u8]) -> Outcome {
    inject(pair, payload);
    let incoming = pair.told(Side::Ours).iter().find_map(|event| match event {
        AgentEvent::Incoming(invite) => Some(invite.leg),
        _ => None,
    });
    let answer = pair.sent(Side::Ours, "SIP/2.0 ").last().map(|text| {
        let status = text.split(' ').nth(1).unwrap();
        status.parse::<u16>().unwrap()
    });
    if let Some(leg) = incoming {
        assert_eq!(answer, Some(100));
        let now = pair.now;
        pair.ours
            .refuse_incoming(now, leg, StatusCode(480), Q850Cause(18));
        pair.deliver();
        return Call;
    }
    assert!(pair.told(Side::Ours).is_empty(), "{:?}", pair.told);
    answer.map_or(Silence, Status)
}

fn assert_outcome(name: &str, payload: &[u8], expected: Outcome) {
    let mut pair = Pair::new();
    let found = outcome(&mut pair, payload);
    let text = String::from_utf8_lossy(payload);
    assert_eq!(found, expected, "{name}: {:?} to\n{text:.600}", pair.wire);
    pair.assert_nothing_is_left();
}

/// Section 3.1.1.1. Its To has a tag that we never gave: for a user agent it belongs to no dialog.
fn wsinv() -> Vec<u8> {
    let lines = [
        "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0",
        "TO :",
        " sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n",
        "from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>",
        "  ;",
        "  tag = 98asjd8",
        "MaX-fOrWaRdS: 0068",
        "Call-ID: wsinv.ndaksdj@192.0.2.1",
        "cseq: 0009",
        "  INVITE",
        "Via  : SIP  /   2.0",
        " /UDP",
        "    192.0.2.2;branch=390skdjuw",
        "s :",
        "NewFangledHeader:   newfangled value",
        " continued newfangled value",
        "UnknownHeaderWithUnusualValue: ;;,,;;,;",
        "Route:",
        " <sip:services.example.com;lr;unknownwith=value;unknown-no-value>",
        "v:  SIP  / 2.0  / TCP     spindle.example.com   ;",
        "  branch  =   z9hG4bK9ikj8  ,",
        " SIP  /    2.0   / UDP  192.168.255.111   ; branch=",
        " z9hG4bK30239",
        "m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =",
        "      newvalue ;",
        "  secondparam ; q = 0.33",
    ];
    message(&lines, SDP)
}

/// Section 3.1.1.2: every character that a grammar allows.
fn intmeth() -> Vec<u8> {
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    let uri = "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com";
    let lines = [
        format!("{method} {uri} SIP/2.0"),
        "Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bK-.!%66*_+`'~".to_owned(),
        format!("To: \"BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}\" <{uri}>"),
        "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"работающий\";tag=_token~1'+`*%!-."
            .to_owned(),
        "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{".to_owned(),
        format!("CSeq: 139122385 {method}"),
        "Max-Forwards: 255".to_owned(),
        "extensionHeader-!.%*+_`'~:\u{feff}大停電".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    message(&lines, "")
}

/// Section 3.1.1.7: long values of everything.
fn longreq() -> Vec<u8> {
    let long = |part: &str, count: usize| part.repeat(count);
    let mut lines = vec![
        "INVITE sip:user@example.com SIP/2.0".to_owned(),
        format!(
            "To: \"I have a user name of {} proportion\"<sip:user@example.com:6000;unknownparam1=very{}value;\
             longparam{}=shortvalue;very{}ParameterNameWithNoValue>",
            long("extreme", 10),
            long("long", 20),
            long("name", 25),
            long("long", 25)
        ),
        format!(
            "F: sip:{}@example.net;tag=12{}424;unknownheaderparam{}=unknowheaderparam{}value;unknownValueless{}paramname",
            long("amazinglylongcallername", 5),
            long("982", 50),
            long("name", 20),
            long("value", 15),
            long("extreme", 10)
        ),
        format!("Call-ID: longreq.one{}longcallid", long("really", 20)),
        "CSeq: 3882340 INVITE".to_owned(),
        format!(
            "Unknown-{}-Name: unknown-{}-value; unknown-{}-parameter-name = unknown-{}-parameter-value",
            long("Long", 20),
            long("long", 20),
            long("long", 20),
            long("long", 20)
        ),
        "Via: SIP/2.0/TCP sip33.example.com".to_owned(),
        "v: SIP/2.0/TCP sip32.example.com".to_owned(),
        "V: SIP/2.0/TCP sip31.example.com".to_owned(),
    ];
    for number in (1..=30).rev() {
        lines.push(format!("Via: SIP/2.0/TCP sip{number}.example.com"));
    }
    lines.push(format!(
        "v: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch=very{}branchvalue",
        long("long", 50)
    ));
    lines.push("Max-Forwards: 70".to_owned());
    lines.push(format!(
        "Contact: <sip:{}@host5.example.net>",
        long("amazinglylongcallername", 5)
    ));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    message(&lines, SDP)
}

#[test]
fn valid_messages_3_1_1() {
    assert_outcome("wsinv", &wsinv(), Status(481));
    assert_outcome("intmeth", &intmeth(), Status(501));
    let esc01 = plain(
        "esc01",
        "INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0",
        &[
            "To: sip:%75se%72@example.com",
            "From: <sip:I%20have%20spaces@example.net>;tag=938",
            "Contact: <sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31>",
        ],
    );
    assert_outcome("esc01", &esc01, Call);
    let escnull = plain(
        "escnull",
        "REGISTER sip:example.com SIP/2.0",
        &[
            "To: sip:null-%00-null@example.com",
            "From: sip:null-%00-null@example.com;tag=839923423",
            "Contact: <sip:%00@host5.example.com>, <sip:%00%00@host5.example.com>",
        ],
    );
    // We are no registrar; for others the null bytes are no reason to refuse.
    assert_outcome("escnull", &escnull, Status(405));
    let esc02 = plain(
        "esc02",
        "RE%47IST%45R sip:registrar.example.com SIP/2.0",
        &["To: \"%Z%45\" <sip:resource@example.com>"],
    );
    assert_outcome("esc02", &esc02, Status(501));
    let lwsdisp = plain(
        "lwsdisp",
        "OPTIONS sip:user@example.com SIP/2.0",
        &["From: caller<sip:caller@example.com>;tag=323"],
    );
    assert_outcome("lwsdisp", &lwsdisp, Status(200));
    assert_outcome("longreq", &longreq(), Call);
    let mut dblreq = plain(
        "dblreq",
        "REGISTER sip:example.com SIP/2.0",
        &["Content-Length: 0"],
    );
    dblreq.extend(plain("dblreq2", "INVITE sip:joe@example.com SIP/2.0", &[]));
    // One message a datagram: the INVITE behind it is no message.
    assert_outcome("dblreq", &dblreq, Status(405));
    let semiuri = plain(
        "semiuri",
        "OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0",
        &[],
    );
    assert_outcome("semiuri", &semiuri, Status(200));
    let transports = plain(
        "transports",
        "OPTIONS sip:user@example.com SIP/2.0",
        &[
            "Via: SIP/2.0/UDP t1.example.com;branch=z9hG4bKkdjuw\r\nVia: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\r\n\
             Via: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980unddj\r\n\
             Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en\r\nVia: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee",
        ],
    );
    assert_outcome("transports", &transports, Status(200));
    let mut mpart01 = plain(
        "mpart01",
        "MESSAGE sip:kumiko@example.org SIP/2.0",
        &["Content-Type: multipart/mixed;boundary=7a9cbec02ceef655"],
    );
    mpart01.extend(b"--7a9cbec02ceef655\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\x80\xff\r\n\r\n\x01--7a9cbec02ceef655--");
    assert_outcome("mpart01", &mpart01, Status(405));
}

#[test]
fn responses_of_nothing() {
    let response = |start: &str, extra: &[&str]| plain("response", start, extra);
    let cases = [
        (
            "unreason",
            response(
                "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое",
                &["CSeq: 35 INVITE"],
            ),
        ),
        ("noreason", response("SIP/2.0 100 ", &["CSeq: 35 INVITE"])),
        (
            "scalarlg",
            response(
                "SIP/2.0 503 Service Unavailable",
                &[
                    "CSeq: 9292394834772304023312 OPTIONS",
                    "Retry-After: 949302838503028349304023988",
                    "Warning: 1812 overture \"In Progress\"",
                ],
            ),
        ),
        (
            "bigcode",
            response(
                "SIP/2.0 4294967301 better not break the receiver",
                &["CSeq: 8 INVITE"],
            ),
        ),
        (
            "bcast",
            response(
                "SIP/2.0 200 OK",
                &[
                    "Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\r\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23",
                    "CSeq: 35 INVITE",
                ],
            ),
        ),
    ];
    for (name, payload) in cases {
        assert_outcome(name, &payload, Silence);
    }
}

#[test]
fn invalid_messages_3_1_2() {
    let invite = "INVITE sip:user@example.com SIP/2.0";
    let options = "OPTIONS sip:user@example.com SIP/2.0";
    let register = "REGISTER sip:example.com SIP/2.0";
    let cases: [(&str, &str, &[&str], Outcome); 17] = [
        (
            "badinv01",
            invite,
            &[
                "Via: SIP/2.0/UDP 192.0.2.15;;,;,,",
                "Contact: \"Joe\" <sip:joe@example.org>;;;;",
            ],
            Status(400),
        ),
        ("clerr", options, &["Content-Length: 9999"], Status(400)),
        ("ncl", options, &["Content-Length: -999"], Status(400)),
        (
            "scalar02",
            register,
            &[
                "CSeq: 36893488147419103232 REGISTER",
                "Max-Forwards: 300",
                "Expires: 10000000000000000000000000000000",
                "Contact: <sip:user@host129.example.com>;expires=280297596632815",
            ],
            Status(400),
        ),
        (
            "quotbal",
            invite,
            &["To: \"Mr. J. User <sip:j.user@example.com>"],
            Status(400),
        ),
        (
            "ltgtruri",
            "INVITE <sip:user@example.com> SIP/2.0",
            &[],
            Status(400),
        ),
        (
            "lwsruri",
            "INVITE sip:user@example.com; lr SIP/2.0",
            &[],
            Status(400),
        ),
        (
            "lwsstart",
            "INVITE  sip:user@example.com  SIP/2.0",
            &[],
            Status(400),
        ),
        (
            "trws",
            "OPTIONS sip:remote-target@example.com SIP/2.0  ",
            &[],
            Status(400),
        ),
        (
            "escruri",
            "INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0",
            &[],
            Status(400),
        ),
        // Nothing depends on Date here, and its time zone is no reason to lose a call: section 3.1.2.12 leaves it open.
        (
            "baddate",
            invite,
            &["Date: Fri, 01 Jan 2010 16:00:00 EST"],
            Call,
        ),
        // 400 for a registrar.
        (
            "regbadct",
            register,
            &["Contact: sip:user@example.com?Route=%3Csip:sip.example.com%3E"],
            Status(405),
        ),
        // The two that section 3.1.2.14 and 15 let a tolerant element understand: space in angle brackets, a name with a
        // comma and no quotes. Equipment sends both.
        (
            "badaspec",
            options,
            &["To: \"Watson, Thomas\" < sip:t.watson@example.org >"],
            Status(200),
        ),
        (
            "baddn",
            options,
            &["From: Bell, Alexander <sip:a.g.bell@example.com>;tag=43"],
            Status(200),
        ),
        (
            "badvers",
            "OPTIONS sip:t.watson@example.org SIP/7.0",
            &["Via: SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw"],
            Status(505),
        ),
        ("mismatch01", options, &["CSeq: 8 INVITE"], Status(400)),
        (
            "mismatch02",
            "NEWMETHOD sip:user@example.com SIP/2.0",
            &["CSeq: 8 INVITE"],
            Status(400),
        ),
    ];
    for (name, start, extra, expected) in cases {
        assert_outcome(name, &plain(name, start, extra), expected);
    }
}

#[test]
fn what_a_user_agent_must_understand_3_2_and_3_3() {
    let invite = "INVITE sip:user@example.com SIP/2.0";
    let options = "OPTIONS sip:user@example.com SIP/2.0";
    let register = "REGISTER sip:example.com SIP/2.0";
    let cases: [(&str, &str, &[&str], Outcome); 15] = [
        (
            "badbranch",
            options,
            &["Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"],
            Status(200),
        ),
        (
            "unkscm",
            "OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0",
            &[],
            Status(416),
        ),
        (
            "novelsc",
            "OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0",
            &[],
            Status(416),
        ),
        ("unksm2", register, &["To: isbn:2983792873"], Status(405)),
        (
            "bext01",
            options,
            &[
                "Require: nothingSupportsThis, nothingSupportsThisEither",
                "Proxy-Require: noProxiesSupportThis, norDoAnyProxiesSupportThis",
            ],
            Status(420),
        ),
        (
            "regaut01",
            register,
            &["Authorization: NoOneKnowsThisScheme opaque-data=here"],
            Status(405),
        ),
        (
            "multi01",
            invite,
            &[
                "CSeq: 5 INVITE\r\nCSeq: 59 INVITE",
                "Call-ID: multi01.98asdh@192.0.2.1\r\nCall-ID: multi01.98asdh@192.0.2.2",
                "From: <sip:u@example.com>;tag=3413415\r\nFrom: sip:u2@example.net;tag=123",
                "To: sip:user@example.com\r\nTo: sip:other@example.net",
            ],
            Status(400),
        ),
        (
            "mcl01",
            options,
            &["Content-Length: 13\r\nContent-Length: 5"],
            Status(400),
        ),
        // For a proxy the end of the way; we are the end.
        ("zeromf", options, &["Max-Forwards: 0"], Status(200)),
        (
            "cparam01",
            register,
            &["Contact: sip:+19725552222@gw1.example.net;unknownparam"],
            Status(405),
        ),
        (
            "cparam02",
            register,
            &["Contact: <sip:+19725552222@gw1.example.net;unknownparam>"],
            Status(405),
        ),
        (
            "regescrt",
            register,
            &["Contact: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>"],
            Status(405),
        ),
        (
            "sdp01",
            invite,
            &["Accept: text/nobodyKnowsThis"],
            Status(406),
        ),
        // Section 3.4.1, a caller of RFC 2543: no branch, no tag of From. We differ: a dialog whose far end has no tag is
        // anybody's who knows its Call-ID, and no trunk sends this any more.
        (
            "inv2543",
            invite,
            &[
                "Via: SIP/2.0/UDP iftgw.example.com",
                "From: <sip:+13035551111@ift.client.example.net;user=phone>",
                "Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>",
            ],
            Status(400),
        ),
        (
            "sdp01-any",
            invite,
            &["Accept: text/x, application/*;q=0.1"],
            Call,
        ),
    ];
    for (name, start, extra, expected) in cases {
        assert_outcome(name, &plain(name, start, extra), expected);
    }
    let insuf = message(
        &[
            "INVITE sip:user@example.com SIP/2.0",
            "CSeq: 193942 INVITE",
            "Via: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf",
        ],
        SDP,
    );
    assert_outcome("insuf", &insuf, Status(400));
    let invut = plain("invut", invite, &[]);
    let invut = String::from_utf8(invut).unwrap();
    let invut = invut.replace("application/sdp", "application/unknownformat");
    assert_outcome("invut", invut.as_bytes(), Status(415));
    let mut pair = Pair::new();
    inject(&mut pair, invut.as_bytes());
    assert_eq!(
        field(pair.sent(Side::Ours, "SIP/2.0 415")[0], "Accept"),
        "application/sdp"
    );
    let (_, start, extra, _) = cases[4];
    inject(&mut pair, &plain("bext01", start, extra));
    assert_eq!(
        field(pair.sent(Side::Ours, "SIP/2.0 420")[0], "Unsupported"),
        "nothingSupportsThis, nothingSupportsThisEither"
    );
}

/// What the answers copy and what later requests say of odd names is as it came.
#[test]
fn a_strange_name_comes_back_as_it_was() {
    let mut pair = Pair::new();
    let name = "\"J \\\\\\\" Rosenberg \\\"\"";
    let from = format!("From: {name} <sip:j@example.com>;tag=98asjd8");
    inject(
        &mut pair,
        &plain("name", "INVITE sip:user@example.com SIP/2.0", &[&from]),
    );
    let leg = match pair.told(Side::Ours) {
        [AgentEvent::Incoming(invite)] => invite.leg,
        other => panic!("{other:?}"),
    };
    let now = pair.now;
    pair.ours.take_incoming(now, leg, call(1), false);
    pair.ours
        .handle_accept(now, call(1), "[::]:20000".parse().unwrap(), false);
    pair.pass(Duration::from_secs(33));
    let bye = pair.sent(Side::Ours, "BYE")[0];
    assert_eq!(field(bye, "To"), &from[6..]);
    pair.assert_nothing_is_left();
}
