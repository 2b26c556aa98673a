//! Messages of Vapi's on our end of a transport socket; after a first line `!relay`, those of a relay.
#![no_main]

use std::time::Instant;

use codecs::SampleRate;
use libfuzzer_sys::fuzz_target;
use server::pcm::Encoding;
use server::vendors::vapi::{VapiSession, cause_of};
use server::websocket::Writer;
use server_fuzz::dialect::play;

const ENCODING: Encoding = Encoding::Linear16(SampleRate::Hz16000);

fuzz_target!(|input: &str| {
    let now = Instant::now();
    assert!((1..=127).contains(&cause_of(input).0));
    let out = Writer::server();
    match input.strip_prefix("!relay\n") {
        Some(script) => {
            let mut relay = VapiSession::server(now, ENCODING);
            play(now, &mut relay, None, out, script);
        }
        None => {
            let mut assistant = VapiSession::client(now, ENCODING);
            play(now, &mut assistant, Some(ENCODING), out, input);
        }
    }
});
