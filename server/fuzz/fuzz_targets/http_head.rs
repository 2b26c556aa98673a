//! Any bytes as a request head, and its path as a route: what is read never depends on how the bytes were cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::ingress::{Route, parse_head, route};
use server::vendors::browser::subprotocols;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_last() else {
        return;
    };
    let part = &bytes[..bytes.len() * usize::from(cut) / 255];
    let early = parse_head(part);
    let head = match parse_head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => {
            assert_eq!(early, Ok(None), "an incomplete head has no complete part");
            return;
        }
        Err(_) => return,
    };
    assert!(head.len <= bytes.len());
    match early {
        Ok(None) => assert!(part.len() < head.len),
        Ok(Some(early)) => assert_eq!(early, head, "what follows the head is not its"),
        Err(error) => panic!("refused although it goes on well: {error}"),
    }
    let path = head.path();
    assert!(head.target.starts_with(path) && !path.contains('?'));
    if let Ok(Route::Signal { tenant_id, .. }) = route(path) {
        let id = tenant_id.as_str();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        assert!((1..=64).contains(&id.len()) && id.bytes().all(allowed));
    }
    if let Some(key) = head.websocket_key {
        assert_eq!(key.len(), 24);
    }
    if let Some(protocols) = head.websocket_protocols {
        let _offered = subprotocols(&protocols);
    }
});
