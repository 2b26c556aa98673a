//! The trunk legs' signalling side: how a far end is called, answers and hangs up. Media is the shard's.
//!
//! Sans-I/O: `handle_*` in, [`Signalling::poll_progress`] out. One file per kind of trunk. The kinds that are here
//! answer when they are dialled and have nobody to tell a hang-up or a hold; those that dial out over a network bring
//! such inputs with them.

mod echo;
mod rtp;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::call::q850::Q850Cause;
use crate::call::rings::{TrunkDial, TrunkProgress};
use crate::config::{GatewayConfig, TrunkConfig, TrunkKind};
use crate::fault::{Fault, Refusal, RefusalCode};
use crate::id::{CallSid, TrunkId};

/// The far ends of all trunks.
#[derive(Debug)]
pub struct Signalling {
    trunks: BTreeMap<TrunkId, Arc<TrunkConfig>>,
    /// At most one entry per dial that was not polled yet.
    progress: VecDeque<(CallSid, TrunkProgress)>,
}

impl Signalling {
    /// The far ends of `config`'s trunks.
    pub fn new(config: &GatewayConfig) -> Self {
        Self {
            trunks: config.trunks.clone(),
            progress: VecDeque::new(),
        }
    }

    /// Takes new trunks; legs that are set up stay as they are.
    pub fn reconfigure(&mut self, config: &GatewayConfig) {
        self.trunks.clone_from(&config.trunks);
    }

    /// Sets a trunk leg up. At least one progress follows, for an unknown trunk `Failed`.
    pub fn handle_dial(&mut self, dial: &TrunkDial) {
        let answer = self
            .trunks
            .get(&dial.trunk_id)
            .ok_or_else(|| unknown_trunk(&dial.trunk_id))
            .and_then(|trunk| match &trunk.kind {
                TrunkKind::Echo(codec) => Ok(echo::answer(*codec)),
                TrunkKind::Rtp { remote, rtcp_mux } => rtp::answer(trunk, *remote, *rtcp_mux, dial),
                TrunkKind::Sip(_) | TrunkKind::WebSocket => Err(without_signalling(&dial.trunk_id)),
            });
        let progress = match answer {
            Ok(media) => TrunkProgress::Answered(media),
            Err(refusal) => TrunkProgress::Failed(refusal),
        };
        self.progress.push_back((dial.call_sid, progress));
    }

    /// What became of a leg, in the order in which it happened.
    pub fn poll_progress(&mut self) -> Option<(CallSid, TrunkProgress)> {
        self.progress.pop_front()
    }
}

fn unknown_trunk(trunk_id: &TrunkId) -> Refusal {
    let message = format!("there is no trunk {trunk_id} any more");
    Refusal::new(RefusalCode::NotFound, Fault::Config, message)
}

fn without_signalling(trunk_id: &TrunkId) -> Refusal {
    let message = format!("the kind of trunk {trunk_id} can't be dialled by this gateway");
    Refusal::new(RefusalCode::NotFound, Fault::Config, message)
        .with_cause(Q850Cause::BEARER_NOT_IMPLEMENTED)
}

#[cfg(test)]
mod tests;
