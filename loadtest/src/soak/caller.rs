//! One caller of the soak: dials, stays for a while, holds, loses its socket and comes back, hangs up, walks away or stays until
//! it is sent away; then again.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::gateway::Gateway;
use crate::impairment::Dice;
use crate::webrtc_client::WebRtcCall;

/// The longest call that nobody ends.
const CALL_MS_MAX: u64 = 1_500;
/// Each step of a set-up; a gateway that is gone answers none.
const STEP_TIMEOUT: Duration = Duration::from_secs(4);
/// A caller that waits to be sent away gives up.
const SENT_AWAY_WITHIN: Duration = Duration::from_secs(12);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub(super) struct Caller<'a> {
    gateway: &'a Gateway,
    leave: &'a AtomicBool,
    /// Held while the configuration on disk is a bad one.
    files: &'a Mutex<()>,
    dice: Dice,
}

impl<'a> Caller<'a> {
    pub(super) fn new(
        gateway: &'a Gateway,
        leave: &'a AtomicBool,
        files: &'a Mutex<()>,
        dice: Dice,
    ) -> Self {
        Self {
            gateway,
            leave,
            files,
            dice,
        }
    }

    /// Calls until it is to leave; the names of the calls that were answered.
    pub(super) fn run(mut self) -> Vec<String> {
        let mut answered = Vec::new();
        while !self.leaves() {
            let plan = {
                let _files = self.files.lock();
                self.gateway.call_plan("acme")
            };
            let Ok(mut plan) = plan else { continue };
            plan.step_timeout = STEP_TIMEOUT;
            plan.local_ips = vec![Ipv4Addr::LOCALHOST.into()];
            // One that is refused has its events all the same, if it had a CREATE.
            if let Ok(call) = WebRtcCall::dial(&plan) {
                answered.push(call.call_sid().to_owned());
                self.stay(call);
            }
        }
        answered
    }

    fn leaves(&self) -> bool {
        self.leave.load(Ordering::Relaxed)
    }

    fn stay(&mut self, mut call: WebRtcCall) {
        if self.dice.happens(0.3) {
            let _ = call.hold().and_then(|()| call.unhold());
        }
        if self.dice.happens(0.3) {
            call.lose_socket();
            if self.dice.happens(0.3) {
                return call.vanish();
            }
            if call.resume().is_err() {
                return;
            }
        }
        let until = Instant::now() + Duration::from_millis(self.dice.below(CALL_MS_MAX));
        let stays = self.dice.happens(0.5);
        while Instant::now() < until || (stays && !self.leaves()) {
            if call.signalling().ended().is_some() {
                return;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        if self.dice.happens(0.5) && self.leaves() {
            // Whoever stays to the last hears the end from the gateway, or loses it.
            let _ = call
                .signalling()
                .wait_for_end(Instant::now() + SENT_AWAY_WITHIN);
        } else if self.dice.happens(0.7) {
            let _ = call.hang_up();
        } else {
            call.vanish();
        }
    }
}
