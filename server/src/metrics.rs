//! Counters that every room may touch and the admin window shows.
//!
//! One [`ShardMetrics`] per shard, written by that shard alone and read by the control thread: relaxed atomics, no
//! locks. Everything is present at zero from the start. Rendering is `control`'s.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::fault::Fault;

/// A number that goes up, or up and down. Written by one thread, read by any.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Takes one away. Pairs with an earlier [`Gauge::increment`].
    pub fn decrement(&self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a gauge went below zero");
    }

    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The metric label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why a datagram went no further.
    DropReason {
        /// From an address that no peer is bound to, and no STUN check.
        UnknownSource = "unknown_source",
        /// First byte of no known protocol (RFC 7983).
        UnknownProtocol = "unknown_protocol",
        /// STUN that can't be parsed.
        StunMalformed = "stun_malformed",
        /// STUN for a ufrag that no peer has.
        StunUnknownUfrag = "stun_unknown_ufrag",
        /// STUN whose MESSAGE-INTEGRITY does not hold.
        StunIntegrity = "stun_integrity",
        /// A check that another address sent before: a recording.
        StunReplay = "stun_replay",
        /// DTLS that the handshake refused.
        DtlsInvalid = "dtls_invalid",
        /// DTLS after the handshake that led to nothing: forged, or nothing that we need.
        DtlsIgnored = "dtls_ignored",
        /// Media before the keys.
        SrtpNoKeys = "srtp_no_keys",
        /// SRTP or SRTCP too short or unparsable.
        SrtpMalformed = "srtp_malformed",
        /// SRTP or SRTCP whose tag does not hold.
        SrtpAuth = "srtp_auth",
        /// SRTP or SRTCP seen before, or too old.
        SrtpReplay = "srtp_replay",
        /// A ninth SSRC of one peer.
        SrtpStreams = "srtp_too_many_streams",
        /// RTP that can't be parsed.
        RtpMalformed = "rtp_malformed",
        /// A payload type that was not negotiated.
        RtpPayloadType = "rtp_payload_type",
        /// Plain RTP from a stranger's address.
        RtpWrongSource = "rtp_wrong_source",
        /// RTCP that can't be parsed.
        RtcpMalformed = "rtcp_malformed",
        /// Media while on hold.
        OnHold = "on_hold",
        /// Media before the call was answered.
        NotAnswered = "not_answered",
        /// Older than what was already played.
        Late = "late",
        /// A copy of a packet that was already taken.
        Duplicate = "duplicate",
        /// Audio that the decoder refused.
        CodecError = "codec_error",
        /// The send queue of the shard was full.
        SendQueueFull = "send_queue_full",
        /// The kernel refused the datagram.
        SendFailed = "send_failed",
        /// Longer than any datagram that we take.
        Oversized = "oversized",
    }
}

reasons! {
    /// Why a connection was closed before it became a session.
    ConnectionRefusal {
        /// Too many connections on this shard.
        Connections = "connections",
        /// Too many TLS handshakes under way.
        Handshakes = "handshakes",
        /// Too many connections of one address.
        Address = "address",
        /// Too many new connections of one address per second.
        AddressRate = "address_rate",
        /// TLS failed.
        Tls = "tls",
        /// TLS took too long.
        TlsTimeout = "tls_timeout",
        /// An HTTP head that can't be read.
        HttpMalformed = "http_malformed",
        /// An HTTP head that is too long.
        HttpTooLong = "http_too_long",
        /// An HTTP head that came too slowly.
        HttpTimeout = "http_timeout",
        /// No such path, vendor or tenant.
        NotFound = "not_found",
        /// Origin not allowed.
        Origin = "origin",
        /// Not authenticated: token missing, bad, used, of another tenant.
        Auth = "auth",
        /// A resume token that opens nothing.
        Resume = "resume",
        /// The hand-off ring to the owner was full.
        HandOff = "hand_off",
        /// The gateway drains.
        Draining = "draining",
        /// The shard is too busy for another call.
        Overload = "overload",
        /// A WebSocket that stayed full for 5 s.
        SlowReader = "slow_reader",
        /// A panic in the session's task.
        Panic = "panic",
    }
}

reasons! {
    /// Where somebody who wants a call was refused because the shard is overloaded.
    LoadRefusal {
        /// At the upgrade to a WebSocket, before anything else was done for the page.
        Upgrade = "upgrade",
        /// At a page's first offer, before its DTLS handshake.
        Offer = "offer",
        /// At a page's dial.
        Dial = "dial",
        /// A call that came over a trunk.
        Incoming = "incoming",
    }
}

reasons! {
    /// What the dialects of WebSockets of audio count of their messages.
    PcmMessage {
        /// With audio, that came and was taken.
        MediaReceived = "media_received",
        /// With audio, that was written.
        MediaSent = "media_sent",
        /// With audio, that the peer numbered and that never came.
        MediaMissing = "media_missing",
        /// With audio, that nobody could take: before the leg, muted, of another track.
        MediaUnused = "media_unused",
        /// That mean nothing to us.
        Ignored = "ignored",
    }
}

/// One counter per reason.
#[derive(Debug)]
pub struct ByReason<const N: usize>([Gauge; N]);

impl<const N: usize> Default for ByReason<N> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Gauge::default()))
    }
}

impl<const N: usize> ByReason<N> {
    /// The counter at `index`.
    pub fn at(&self, index: usize) -> &Gauge {
        &self.0[index]
    }
}

/// Kinds of violations that there is room for.
pub const PCM_VIOLATIONS_MAX: usize = 24;

/// Frames of 20 ms on WebSockets that carry audio. "Received" is what comes from them, "sent" what goes to them.
#[derive(Debug, Default)]
pub struct PcmMetrics {
    /// Frames that went on whole.
    pub frames_received: Gauge,
    /// The same.
    pub frames_sent: Gauge,
    /// Frames that were made up because nothing came in time.
    pub concealed_received: Gauge,
    /// The same.
    pub concealed_sent: Gauge,
    /// Of the frames that went on, those that were blended with what would have come in place of what is missing before them.
    pub crossfaded_received: Gauge,
    /// The same.
    pub crossfaded_sent: Gauge,
    /// Frames that were dropped: too much, too late, or to end a delay.
    pub dropped_received: Gauge,
    /// The same.
    pub dropped_sent: Gauge,
    /// Frames that a peer that does not read was not sent.
    pub unsent: Gauge,
    /// Times that a caller's speech cut an agent off.
    pub barge_ins: Gauge,
    /// Messages, as their dialects count them.
    pub messages: ByReason<{ PcmMessage::ALL.len() }>,
}

/// What one shard counts.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    /// Calls that are live now.
    pub calls: Gauge,
    /// Signalling sessions that are open now.
    pub sessions: Gauge,
    /// Resume tokens that are good now: one per session, lost socket or not.
    pub resume_tokens: Gauge,
    /// TCP connections that are open now, sessions included.
    pub connections: Gauge,
    /// TLS handshakes under way now.
    pub handshakes_pending: Gauge,
    /// WebRTC peers that exist now.
    pub peers: Gauge,
    /// WebSockets that carry audio, open now.
    pub pcm_sockets: Gauge,
    /// What their legs carried.
    pub pcm: PcmMetrics,
    /// How their peers broke the rules of their dialect, by fault and kind; use [`ShardMetrics::pcm_violated`].
    pub pcm_violations: [ByReason<PCM_VIOLATIONS_MAX>; Fault::ALL.len()],
    /// Trunk media ports in use now.
    pub media_ports: Gauge,
    /// Occupied entries over all slabs of the shard.
    pub slab_entries: Gauge,
    /// Calls created since the start.
    pub calls_total: Gauge,
    /// Sessions opened since the start.
    pub sessions_total: Gauge,
    /// Sessions that got another socket since the start.
    pub sessions_resumed: Gauge,
    /// Datagrams received on the WebRTC port.
    pub webrtc_packets_received: Gauge,
    /// Datagrams sent from the WebRTC port.
    pub webrtc_packets_sent: Gauge,
    /// Datagrams received on trunk ports.
    pub trunk_packets_received: Gauge,
    /// Datagrams sent from trunk ports.
    pub trunk_packets_sent: Gauge,
    /// Packets decoded and encoded again.
    pub packets_transcoded: Gauge,
    /// Of these, packets of silence that were not encoded.
    pub packets_silent: Gauge,
    /// Packets forwarded without decoding.
    pub packets_passed_through: Gauge,
    /// 20 ms frames concealed.
    pub frames_concealed: Gauge,
    /// Frames recovered by in-band FEC.
    pub frames_recovered_fec: Gauge,
    /// Nanoseconds in which the media task worked.
    pub busy_ns: Gauge,
    /// 1 while our Opus encoders save CPU, because the media task hardly rests; else 0.
    pub cpu_scarce: Gauge,
    /// Share of its core that the shard's thread uses, over about a second, in millionths.
    pub busy_ppm: Gauge,
    /// How late the media ticks are: the median of ten looks in about a second.
    pub tick_late_us: Gauge,
    /// 1 while no new call is taken, because the shard is too busy or too late; else 0.
    pub admission_closed: Gauge,
    /// Wake-ups of the media task.
    pub wakeups: Gauge,
    /// Times that the executor slept past its timers and had to be woken (see `shards`, pacemaker).
    pub oversleeps: Gauge,
    /// Connections given to another shard.
    pub hand_offs_sent: Gauge,
    /// Connections taken from another shard.
    pub hand_offs_received: Gauge,
    /// Messages that wait in the ring to the control thread now.
    pub control_ring_depth: Gauge,
    /// Messages that did not fit into a ring.
    pub ring_full: Gauge,
    /// Panics that were caught in a task or a call.
    pub panics: Gauge,
    /// Dropped datagrams; use [`ShardMetrics::dropped`].
    pub drops: ByReason<{ DropReason::ALL.len() }>,
    /// Calls, and pages that want one, refused by load; use [`ShardMetrics::refused_by_load`].
    pub load_refusals: ByReason<{ LoadRefusal::ALL.len() }>,
    /// Refused connections; use [`ShardMetrics::refused`].
    pub refusals: ByReason<{ ConnectionRefusal::ALL.len() }>,
}

impl ShardMetrics {
    /// Counts a dropped datagram.
    pub fn dropped(&self, reason: DropReason) {
        self.drops.at(reason as usize).increment();
    }

    /// Counts a refusal by load.
    pub fn refused_by_load(&self, at: LoadRefusal) {
        self.load_refusals.at(at as usize).increment();
    }

    /// Counts a broken rule of a dialect: `kind` is its number.
    pub fn pcm_violated(&self, fault: Fault, kind: usize) {
        self.pcm_violations[fault as usize].at(kind).increment();
    }

    /// Counts a refused connection.
    pub fn refused(&self, reason: ConnectionRefusal) {
        self.refusals.at(reason as usize).increment();
    }
}

/// What the whole process tells: readiness and drain. Written by the control thread, and by a shard that dies.
#[derive(Debug, Default)]
pub struct ProcessState {
    /// All shards listen.
    pub ready: AtomicBool,
    /// SIGTERM was received.
    pub draining: AtomicBool,
    /// A shard died: `/healthz` fails.
    pub unhealthy: AtomicBool,
}
