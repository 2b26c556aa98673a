//! A SIP far end of our own: a carrier, a PBX or a phone that does what a script says, right or wrong.
//!
//! It answers and places calls, challenges, registers, holds, transfers, forks, keeps silent or vanishes, keeps every message
//! with its time, and its media is [`crate::rtp_peer`]. One thread does all of it, for 500 calls at once as for one. What RFC
//! 3261 wants of a user agent (retransmissions, ACK, dialogs, routes) it does by itself; [`Action`]s say what is said.

mod actions;
mod call;
mod digest;
mod driver;
mod message;
mod net;
mod requests;
mod responses;
mod sdp;
mod seen;
mod sending;
mod session;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;

pub use actions::{Action, Body, Request, Response, SdpChange, answer_after, refuse};
pub use digest::{Challenge, Credentials, DigestAlgorithm};
pub use message::{SipMessage, StartLine, host_and_port, parameter, uri_of};
pub use net::{Remote, Transport};
pub use sdp::{Direction, RemoteSdp};
pub use seen::{CallId, CallState, CallView, Logged, Registration};

use driver::{Driver, Wake};
use net::Net;
use seen::Shared;

use crate::media::AudioCodec;
use crate::rtp_peer::{RtpPeer, RtpPeerConfig, RtpPeerError};

/// How a far end behaves.
#[derive(Debug, Clone)]
pub struct SipPeerConfig {
    /// Where it listens, UDP and TCP.
    pub ip: IpAddr,
    /// 0: any that is free.
    pub port: u16,
    /// Its user name in URIs.
    pub user: String,
    /// Its media, one port for each; calls begin with the first.
    pub media: Vec<RtpPeerConfig>,
    /// What becomes of incoming calls. `100 Trying` goes before by itself.
    pub script: Vec<Action>,
    /// What OPTIONS outside of calls are answered with; none: nothing.
    pub options_status: Option<u16>,
    /// What re-INVITEs and UPDATEs are answered with; 200: what they ask for is done.
    pub reinvite_status: u16,
    /// What REFERs are answered with; after 202 it tells in NOTIFYs that it worked, and calls nobody.
    pub refer_status: u16,
    /// INVITE (407) and REGISTER (401) have to be answered to it.
    pub challenge: Option<Challenge>,
    /// What it answers challenges with.
    pub credentials: Option<Credentials>,
    /// The longest life of a registration; none: REGISTER is refused with 405.
    pub registrar_expires_max_s: Option<u32>,
    /// RFC 4028; none: it knows nothing of it.
    pub session_timer: Option<SessionTimer>,
}

/// How a far end keeps sessions alive.
#[derive(Debug, Clone, Copy)]
pub struct SessionTimer {
    /// `Session-Expires` that it asks for.
    pub expires_s: u32,
    /// Shorter ones are refused with 422.
    pub min_s: u32,
    /// It refreshes; else the other side has to.
    pub refreshes: bool,
    /// Refreshes are UPDATEs, not re-INVITEs.
    pub by_update: bool,
}

impl SipPeerConfig {
    /// On `ip` at any port, with one codec; rings and answers at once.
    pub fn new(ip: IpAddr, codec: AudioCodec) -> Self {
        Self {
            ip,
            port: 0,
            user: "far-end".to_owned(),
            media: vec![RtpPeerConfig::new(ip, codec)],
            script: answer_after(Duration::ZERO),
            options_status: Some(200),
            reinvite_status: 200,
            refer_status: 202,
            challenge: None,
            credentials: None,
            registrar_expires_max_s: None,
            session_timer: None,
        }
    }
}

/// A call to place.
#[derive(Debug, Clone)]
pub struct OutgoingCall {
    /// Whom it is for: the URI of the request.
    pub uri: String,
    /// Where it is sent; none: the host of the URI.
    pub next_hop: Option<SocketAddr>,
    /// How.
    pub transport: Transport,
    /// The user in `From`; none: [`SipPeerConfig::user`].
    pub from_user: Option<String>,
    /// Offers in the INVITE; else the offer is left to the other side (a late offer).
    pub offer: Option<SdpChange>,
    /// Besides those that it must have.
    pub headers: Vec<(String, String)>,
    /// What is done once it is answered.
    pub script: Vec<Action>,
}

impl OutgoingCall {
    /// To a URI by UDP, with an offer.
    pub fn new(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            next_hop: None,
            transport: Transport::Udp,
            from_user: None,
            offer: Some(SdpChange::default()),
            headers: Vec::new(),
            script: Vec::new(),
        }
    }
}

/// Why the far end can't do what was asked.
#[derive(Debug, Error)]
pub enum SipPeerError {
    /// A socket.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// Its media.
    #[error(transparent)]
    Media(#[from] RtpPeerError),
    /// It did not come in time.
    #[error("timed out waiting for {what}; the last messages:\n{log}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// What came and went before.
        log: String,
    },
}

/// A running far end. Dropping it closes its sockets and says nothing.
pub struct SipPeer {
    shared: Arc<Shared>,
    wakes: Sender<Wake>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    local: SocketAddr,
    media: Arc<Vec<RtpPeer>>,
    user: String,
}

impl SipPeer {
    /// Binds the ports and begins to listen.
    ///
    /// # Errors
    /// The ports are taken.
    pub fn start(config: SipPeerConfig) -> Result<Self, SipPeerError> {
        let media = config.media.iter().cloned().map(RtpPeer::start);
        let media = Arc::new(media.collect::<Result<Vec<_>, _>>()?);
        let (wakes, wake) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared::default());
        let address = (config.ip, config.port);
        let (net, local, mut threads) = Net::start(address, wakes.clone(), Arc::clone(&stop))?;
        let user = config.user.clone();
        let mut driver = Driver::new(config, local, net, Arc::clone(&media), Arc::clone(&shared));
        threads.push(std::thread::spawn(move || driver.run(&wake)));
        Ok(Self {
            shared,
            wakes,
            threads,
            stop,
            local,
            media,
            user,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Its own URI.
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.local)
    }

    /// The first of its media.
    pub fn rtp(&self) -> &RtpPeer {
        self.media_at(0)
    }

    /// One of its media.
    ///
    /// # Panics
    /// There are fewer.
    pub fn media_at(&self, index: usize) -> &RtpPeer {
        &self.media[index]
    }

    /// Places a call. Its INVITE is on its way when this returns.
    pub fn call(&self, call: OutgoingCall) -> CallId {
        let (reply, placed) = mpsc::channel();
        self.wake(Wake::Call(Box::new(call), reply));
        // The driver runs until the far end is dropped.
        placed.recv().unwrap_or(CallId(usize::MAX))
    }

    /// Does something with a call, after what its script still has to do.
    pub fn order(&self, call: CallId, action: Action) {
        self.wake(Wake::Order(call, action));
    }

    /// Sends a request within a call's dialog.
    pub fn send(&self, call: CallId, request: Request) {
        self.order(call, Action::Send(request));
    }

    /// Hangs up.
    pub fn hang_up(&self, call: CallId) {
        self.send(call, Request::bye());
    }

    /// What becomes of calls that come from now on.
    pub fn set_script(&self, script: Vec<Action>) {
        self.wake(Wake::Script(script));
    }

    /// What OPTIONS outside of calls are answered with from now on; none: nothing.
    pub fn set_options_status(&self, status: Option<u16>) {
        self.wake(Wake::OptionsStatus(status));
    }

    /// As if the whole host were gone: nothing is answered and nothing sent, until it is back. Media goes on.
    pub fn set_silent(&self, silent: bool) {
        self.wake(Wake::Silent(silent));
    }

    /// Every call so far, in the order of their INVITEs.
    pub fn calls(&self) -> Vec<CallView> {
        self.shared.lock().calls.clone()
    }

    /// One call.
    ///
    /// # Panics
    /// There is no such call.
    pub fn view(&self, call: CallId) -> CallView {
        self.shared.lock().calls[call.0].clone()
    }

    /// Every message so far, or those of one call.
    pub fn messages(&self, call: Option<CallId>) -> Vec<Logged> {
        self.shared.messages(call)
    }

    /// Who is registered now.
    pub fn registrations(&self) -> Vec<Registration> {
        let now = Instant::now();
        let registrations = &self.shared.lock().registrations;
        let live = registrations.iter().filter(|known| known.expires_at > now);
        live.cloned().collect()
    }

    /// Waits for the `number`th incoming call (from 0) since the start.
    ///
    /// # Errors
    /// [`SipPeerError::Timeout`]
    pub fn wait_for_incoming(
        &self,
        number: usize,
        deadline: Instant,
    ) -> Result<CallId, SipPeerError> {
        self.shared
            .wait(deadline, &format!("incoming call {number}"), |seen| {
                let mut incoming = seen.calls.iter().filter(|call| call.incoming);
                incoming.nth(number).map(|call| call.id)
            })
    }

    /// Waits until something is true of a call.
    ///
    /// # Errors
    /// [`SipPeerError::Timeout`]
    pub fn wait_for<T>(
        &self,
        call: CallId,
        what: &str,
        deadline: Instant,
        look: impl Fn(&CallView) -> Option<T>,
    ) -> Result<T, SipPeerError> {
        self.shared.wait(deadline, what, |seen| {
            seen.calls.get(call.0).and_then(&look)
        })
    }

    /// Waits until a call is in this state.
    ///
    /// # Errors
    /// [`SipPeerError::Timeout`]
    pub fn wait_for_state(
        &self,
        call: CallId,
        state: CallState,
        deadline: Instant,
    ) -> Result<CallView, SipPeerError> {
        self.wait_for(call, &format!("{state:?}"), deadline, |call| {
            (call.state == state).then(|| call.clone())
        })
    }

    /// Waits for a message that came from the other side, of one call or any.
    ///
    /// # Errors
    /// [`SipPeerError::Timeout`]
    pub fn wait_for_message(
        &self,
        what: &str,
        deadline: Instant,
        look: impl Fn(&SipMessage) -> bool,
    ) -> Result<SipMessage, SipPeerError> {
        self.shared.wait(deadline, what, |seen| {
            let mut received = seen.log.iter().filter(|logged| logged.received);
            received
                .find(|logged| look(&logged.message))
                .map(|logged| logged.message.clone())
        })
    }

    /// Waits until somebody is registered.
    ///
    /// # Errors
    /// [`SipPeerError::Timeout`]
    pub fn wait_for_registration(&self, deadline: Instant) -> Result<Registration, SipPeerError> {
        self.shared.wait(deadline, "a registration", |seen| {
            let now = Instant::now();
            let mut live = seen.registrations.iter();
            live.find(|known| known.expires_at > now).cloned()
        })
    }

    fn wake(&self, wake: Wake) {
        // The driver runs until the far end is dropped.
        let _ = self.wakes.send(wake);
    }
}

impl Drop for SipPeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake(Wake::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        if std::thread::panicking() {
            eprintln!(
                "the last messages of {}:\n{}",
                self.local,
                self.shared.lock().tail()
            );
        }
    }
}
