//! SIP (RFC 3261) towards carriers and PBXes: the user agent of all SIP trunks, sans-I/O.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`agent`] | the door: messages, commands and time in; messages, events and deadlines out |
//! | [`leg`] | one call's INVITE session, from either side |
//! | [`trunk_line`] | one trunk: addresses, registration, OPTIONS, circuit breaker |
//! | [`dialog`], [`session_timer`], [`negotiation`] | parts of a leg |
//! | [`transaction`] | requests and their responses, retransmitted and timed out |
//! | [`message`] | the wire format |
//! | [`cause`], [`digest`], [`dtmf_relay`], [`number`] | tables and small formats |
//! | [`flow`], [`tokens`] | where messages travel; names that nobody may guess |
//!
//! Of `rsipstack` the digest hashes are used here, and its resolver by the sockets' owner; none of its types leaves.
//! Its messages, transactions and dialogs are not used: they drop what is malformed instead of answering it, don't know
//! methods beyond their list, lose header fields behind one that is not UTF-8, split URIs at the first `;`, acknowledge a
//! 2xx without the SDP that a late offer needs, queue without bounds, log whole messages with their keys, and keep time
//! by the wall clock.

pub mod agent;
pub mod cause;
pub mod dialog;
pub mod digest;
pub mod dtmf_relay;
pub mod flow;
pub mod leg;
pub mod message;
pub mod negotiation;
pub mod number;
pub mod session_timer;
pub mod tokens;
pub mod transaction;
pub mod trunk_line;
