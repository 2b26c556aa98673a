//! Any text as a trickled candidate; ours are read as what we wrote.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use server::webrtc::sdp::{
    CANDIDATE_LEN_MAX, CandidateAddress, CandidateKind, LocalCandidate, RemoteCandidate,
};

fuzz_target!(|text: &str| {
    let Ok(Some(candidate)) = RemoteCandidate::parse(text) else {
        return;
    };
    assert!(text.trim().len() <= CANDIDATE_LEN_MAX);
    let CandidateAddress::Ip(ip) = candidate.address else {
        return;
    };
    let ours = LocalCandidate {
        address: SocketAddr::new(ip.to_canonical(), candidate.port),
        index: candidate.port,
    };
    let read = RemoteCandidate::parse(&ours.to_string())
        .expect("our own candidate")
        .expect("one candidate");
    assert_eq!(read.address, CandidateAddress::Ip(ip.to_canonical()));
    assert_eq!(
        (read.port, read.kind),
        (candidate.port, CandidateKind::Host)
    );
    assert_eq!(read.priority, ours.priority());
});
