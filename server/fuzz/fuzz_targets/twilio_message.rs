//! Text messages of Twilio's on a session; after a first line `!bot`, those of a bot on Twilio's side of the stream.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use server::pcm::{Dialect, Encoding};
use server::vendors::twilio::{ACCOUNT_SID_NONE, TwilioCaller, TwilioSession};
use server::websocket::Writer;
use server_fuzz::dialect::{agent_start, play};

fuzz_target!(|input: &str| {
    let now = Instant::now();
    let mut out = Writer::server();
    let Some(script) = input.strip_prefix("!bot\n") else {
        let mut session = TwilioSession::new(now, ACCOUNT_SID_NONE);
        return play(now, &mut session, None, out, input);
    };
    let start = agent_start(Encoding::Mulaw);
    let mut caller = TwilioCaller::new(now, start, None, [0; TwilioCaller::ENTROPY_LEN]);
    caller.open(now, &mut out);
    play(now, &mut caller, Some(Encoding::Mulaw), out, script);
});
