//! Any bytes as a SIP message: read or refused with a status; what is read is written, and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::trunk::sip::dialog::Dialog;
use server::trunk::sip::message::{
    BODY_LEN_MAX, HEADERS_MAX, HeaderName, Headers, MESSAGE_LEN_MAX, Message, Response, StatusCode,
};

/// All but Content-Length, which the writer makes.
fn fields(headers: &Headers) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|header| header.name != HeaderName::ContentLength)
        .map(|header| (header.name.to_string(), header.value.clone()))
        .collect()
}

fn body(message: &Message) -> &[u8] {
    match message {
        Message::Request(request) => &request.body,
        Message::Response(response) => &response.body,
    }
}

fn start(message: &Message) -> String {
    match message {
        Message::Request(request) => format!("{} {}", request.method, request.uri),
        Message::Response(response) => format!("{} {}", response.status, response.reason),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => {
            assert!((400..600).contains(&error.status.0) && !error.reason.is_empty());
            if let Some(request) = error.answerable {
                let response = Response::to(&request, error.status, Some("tag"));
                let text = response.to_bytes();
                assert!(text.starts_with(b"SIP/2.0 ") && text.ends_with(b"\r\n\r\n"));
            }
            return;
        }
    };
    assert!(bytes.len() <= MESSAGE_LEN_MAX && body(&message).len() <= BODY_LEN_MAX);
    assert!(message.headers().len() <= HEADERS_MAX);
    let written = message.to_bytes();
    // Unfolded and with long names it may be longer than a message may be; it is read all the same up to there.
    if let Ok(again) = Message::parse(&written) {
        assert_eq!(start(&again), start(&message));
        assert_eq!(fields(again.headers()), fields(message.headers()));
        assert_eq!(body(&again), body(&message));
    } else {
        assert!(
            written.len() > bytes.len(),
            "what was written can't be read"
        );
    }
    if let Message::Request(request) = &message {
        let response = Response::to(request, StatusCode(200), Some("ours"));
        match Message::parse(&response.to_bytes()) {
            Ok(Message::Response(read)) => {
                assert_eq!(read.headers.call_id(), request.headers.call_id());
                assert!(read.headers.to_tag().is_some());
            }
            other => panic!("{other:?}"),
        }
        let flow = server_fuzz::sip_flow();
        if let Some(mut dialog) = Dialog::of_request(request, "ours", &flow) {
            let bye = dialog.request(server::trunk::sip::message::Method::Bye);
            assert!(!bye.uri.contains(['\r', '\n', ' ']));
        }
    }
});
