//! Messages of an agent that speaks raw PCM.
#![no_main]

use std::time::Instant;

use codecs::SampleRate;
use libfuzzer_sys::fuzz_target;
use server::pcm::{Dialect, Encoding};
use server::trunk::agent::RawAgent;
use server::websocket::Writer;
use server_fuzz::dialect::{agent_start, play};

const ENCODING: Encoding = Encoding::Linear16(SampleRate::Hz24000);

fuzz_target!(|input: &str| {
    let now = Instant::now();
    let mut agent = RawAgent::new(now, agent_start(ENCODING));
    let mut out = Writer::server();
    agent.open(now, &mut out);
    play(now, &mut agent, Some(ENCODING), out, input);
});
