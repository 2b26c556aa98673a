//! Any `Sec-WebSocket-Protocol`: only the dialect is taken, a credential comes from the header and is bounded, and a resume
//! token has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use server::auth::ResumeToken;
use server::auth::session_auth::TOKEN_LEN_MAX;
use server::vendors::browser::{Offered, RESUME_TOKEN_LEN_MAX, SUBPROTOCOL, subprotocols};

fuzz_target!(|header: &str| {
    let Ok(offered) = subprotocols(header) else {
        return;
    };
    assert!(header.contains(SUBPROTOCOL));
    let (prefix, token, len_max) = match &offered {
        Offered::Nothing => return,
        Offered::Bearer(token) => ("bearer.", token, TOKEN_LEN_MAX),
        Offered::Resume(token) => ("resume.", token, RESUME_TOKEN_LEN_MAX),
    };
    if let Ok(resume) = token.parse::<ResumeToken>() {
        assert_eq!(resume.to_text(), *token);
    }
    assert!((1..=len_max).contains(&token.len()));
    assert!(header.contains(&format!("{prefix}{token}")));
    assert!(!format!("{offered:?}").contains(prefix));
});
