//! The ClutchCall gateway as a library; `main.rs` is a thin command line over it.
//!
//! The rooms, from the top floor down. A room may import what stands below it, never above:
//!
//! | room | what it does |
//! | --- | --- |
//! | [`ingress`] | accept, TLS, HTTP head, limits, route `{vendor, tenant}`, hand-off, WebSocket sessions |
//! | [`control`] | the control thread (tokio): desk, trunk signalling, admin window, event fan-out |
//! | [`switch`] | one per shard: owns the live calls, the media sockets and the clock that drives them |
//! | [`vendors`] | each adapter's dialect, sans-I/O |
//! | [`trunk`] | the far end's media legs behind one interface |
//! | [`bridge`] | the post-bridge path that all adapters share: reorder, conceal, transcode, DTMF |
//! | [`webrtc`] | the media leg of a WebRTC peer: ICE-lite, DTLS, SRTP, SDP |
//! | [`pcm`] | the media leg of a WebSocket-PCM peer, and what its dialects share |
//! | [`websocket`] | RFC 6455 after the upgrade, and the client's upgrade |
//! | [`call`] | `CallEvent`, the call machine, Q.850, MOS, the call record, the ring messages |
//! | [`auth`] | one file per credential |
//! | [`rtp`] | RTP and RTCP packets, sequence and clock arithmetic, RFC 4733 |
//! | [`config`] | `gateway.toml`, `shards.toml` |
//! | [`settings`] | what a reload replaces: `gateway.toml` with the certificate and key that it names, read |
//! | [`metrics`], [`fault`], [`id`] | counters, blame and the names of things: known to every room |
//! | `injection` | in test builds: faults on purpose |
//!
//! Data plane and control plane share nothing but rings ([`call::rings`]) and atomics ([`metrics`]): no tokio
//! type is named in `ingress`, `switch`, `webrtc` or `bridge`; no glommio type in `control` or `trunk`.

pub mod auth;
pub mod bridge;
pub mod call;
pub mod config;
pub mod control;
pub mod fault;
pub mod id;
pub mod ingress;
#[cfg(debug_assertions)]
pub mod injection;
pub mod metrics;
pub mod pcm;
pub mod rtp;
pub mod serve;
pub mod settings;
pub mod srtp;
pub mod switch;
pub mod trunk;
pub mod vendors;
pub mod webrtc;
pub mod websocket;
