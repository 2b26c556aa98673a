//! Any bytes as the answer to an upgrade: read alike however they arrive, and never granted without our key's proof.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::websocket::handshake::{Key, RESPONSE_HEAD_LEN_MAX, Response};

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_last() else {
        return;
    };
    let key = Key::new(*b"the sample nonce");
    let part = &bytes[..bytes.len() * usize::from(cut) / 255];
    let early = Response::parse(part, &key);
    let whole = Response::parse(bytes, &key);
    match early {
        Ok(None) => assert!(part.len() < RESPONSE_HEAD_LEN_MAX),
        early => assert_eq!(early, whole, "what follows the head is not its"),
    }
    match whole {
        Ok(Some(response)) => {
            let head = &bytes[..response.len];
            let accept = key.accept();
            let has_proof = head
                .windows(accept.len())
                .any(|part| part == accept.as_bytes());
            // Empty lines may come first (RFC 9112 section 2.2).
            assert!(has_proof && head.trim_ascii_start().starts_with(b"HTTP/1."));
        }
        Ok(None) => {}
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 500 && !told.contains(['\r', '\n']), "{told:?}");
        }
    }
});
