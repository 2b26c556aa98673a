//! The client's side of the upgrade.

use super::super::handshake::{
    Key, RESPONSE_HEAD_LEN_MAX, RequestError, Response, ResponseError, request,
};

/// The nonce of RFC 6455 section 1.3.
fn rfc_key() -> Key {
    Key::new(*b"the sample nonce")
}

const GRANTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn granted_with(line: &str) -> Result<Option<Response>, ResponseError> {
    Response::parse(format!("{GRANTED}{line}\r\n").as_bytes(), &rfc_key())
}

fn without(line: &str) -> Result<Option<Response>, ResponseError> {
    assert!(GRANTED.contains(line));
    let head = format!("{}\r\n", GRANTED.replace(line, ""));
    Response::parse(head.as_bytes(), &rfc_key())
}

#[test]
fn the_key_of_the_rfc_has_its_accept() {
    assert_eq!(rfc_key().as_str(), "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(rfc_key().accept(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn a_request_is_a_request() {
    let headers = [("Authorization", "Bearer abc"), ("X-Call", "1 2")];
    let bytes = request("bot.example.com:8443", "/a?b=c", &rfc_key(), &headers).unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "GET /a?b=c HTTP/1.1\r\nHost: bot.example.com:8443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Authorization: Bearer abc\r\nX-Call: 1 2\r\n\r\n"
    );
}

#[test]
fn nothing_is_smuggled_into_a_request() {
    let key = rfc_key();
    let host = |host| request(host, "/", &key, &[]).err();
    for bad in ["", "a b", "a\r\nX: y", "user@host", "a/b", "h\u{e4}"] {
        assert_eq!(host(bad), Some(RequestError::Host), "{bad:?}");
    }
    let target = |target| request("a", target, &key, &[]).err();
    for bad in ["", "a", "/a b", "/a\r\n", "/a#b", "/\u{e4}"] {
        assert_eq!(target(bad), Some(RequestError::Target), "{bad:?}");
    }
    for (name, value) in [
        ("", "a"),
        ("a b", "c"),
        ("a:", "b"),
        ("A", "b\r\nC: d"),
        ("A", "\0"),
    ] {
        let error = request("a", "/", &key, &[(name, value)]).err();
        assert_eq!(error, Some(RequestError::Header(name.to_owned())));
    }
}

#[test]
fn an_upgrade_is_granted() {
    let bytes = format!("{GRANTED}\r\n\u{1}rest");
    let len = GRANTED.len() + 2;
    let key = rfc_key();
    assert_eq!(
        Response::parse(bytes.as_bytes(), &key),
        Ok(Some(Response { len }))
    );
    for cut in 0..len {
        assert_eq!(Response::parse(&bytes.as_bytes()[..cut], &key), Ok(None));
    }
    let other_case = GRANTED
        .replace("Upgrade: websocket", "UPGRADE:  WebSocket ")
        .replace("Connection: Upgrade", "connection: keep-alive, upgrade");
    let bytes = format!("{other_case}Sec-WebSocket-Protocol: \r\n\r\n");
    assert!(Response::parse(bytes.as_bytes(), &key).unwrap().is_some());
}

#[test]
fn what_is_no_upgrade_says_what_came() {
    let parse = |head: &str| Response::parse(head.as_bytes(), &rfc_key()).unwrap_err();
    let redirected = parse(
        "HTTP/1.1 302 Found\r\nLocation: https://u:p@evil.example.com:1/secret?token=1\r\n\r\n",
    );
    assert_eq!(redirected.status(), Some(302));
    assert_eq!(
        redirected.to_string(),
        "the upgrade was redirected (302) to https://evil.example.com:1, which is not followed"
    );
    assert_eq!(
        parse("HTTP/1.1 307 X\r\nLocation: /elsewhere\r\n\r\n").to_string(),
        "the upgrade was redirected (307), which is not followed"
    );
    let refused = parse("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(refused.status(), Some(401));
    assert_eq!(
        refused.to_string(),
        "the upgrade was refused: 401 Unauthorized"
    );
    assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n").status(), Some(200));
    assert!(matches!(
        parse("SSH-2.0-OpenSSH_9.6\r\n"),
        ResponseError::NotHttp(_)
    ));
    assert_eq!(
        parse(&format!(
            "HTTP/1.1 101 X\r\nA: {}",
            "b".repeat(RESPONSE_HEAD_LEN_MAX)
        )),
        ResponseError::TooLong
    );
    let many = format!("HTTP/1.1 101 X\r\n{}\r\n", "A: b\r\n".repeat(65));
    assert!(matches!(parse(&many), ResponseError::NotHttp(_)));
}

#[test]
fn a_101_is_checked() {
    assert_eq!(
        without("Upgrade: websocket\r\n"),
        Err(ResponseError::NoUpgrade)
    );
    assert_eq!(
        without("Connection: Upgrade\r\n"),
        Err(ResponseError::NoConnection)
    );
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    assert_eq!(without(accept), Err(ResponseError::WrongAccept));
    let other = Key::new([1; 16]);
    assert_eq!(
        Response::parse(format!("{GRANTED}\r\n").as_bytes(), &other),
        Err(ResponseError::WrongAccept)
    );
    assert_eq!(
        granted_with("Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        Err(ResponseError::Extension("permessage-deflate".to_owned()))
    );
    assert_eq!(
        granted_with("Sec-WebSocket-Protocol: chat\r\n"),
        Err(ResponseError::Subprotocol("chat".to_owned()))
    );
}
