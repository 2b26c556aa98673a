//! The figures of a call's legs and directions, for `stats{}`, the final event and the record.
//!
//! MOS is per listener: what the vendor's caller hears crosses the trunk's network into the bridge and the vendor's out
//! of it, and the mirror image. An echo has no network of its own.

use codecs::opus;

use super::calls::Call;
use super::pcm_socket::PcmKey;
use super::{CallKey, Switch};
use crate::bridge::{Plan, StreamFormat};
use crate::call::mos::{Impairment, Path, Section};
use crate::call::{CallAccount, DirectionAccount, LegAccount, SetUpTimes};
use crate::id::LegId;
use crate::pcm::PcmLeg;
use crate::rtp::LegStatistics;
use crate::vendors::browser::{CallStats, LegStats};

/// The lowest MOS there is.
const MOS_OF_SILENCE: f64 = 1.0;

/// Both legs as they stand.
struct Legs {
    /// None: an echo, which is the trunk leg once more, or a recording, which loses nothing.
    vendor: Option<Leg>,
    /// None: an echo, which is the vendor leg once more.
    trunk: Option<Leg>,
    transcoded: bool,
}

#[derive(Clone, Copy)]
struct Leg {
    format: StreamFormat,
    statistics: LegStatistics,
    /// In-band FEC brought back more of what this leg lost on its way to us than concealment made up.
    fec_recovers: bool,
}

impl Switch {
    /// What the owner of the legs hands in at a call's end.
    pub(super) fn call_account(&self, call: &Call) -> CallAccount {
        let mut account = CallAccount {
            set_up: self.set_up_times(call),
            ..CallAccount::default()
        };
        let Some(legs) = self.legs(call) else {
            return account;
        };
        account.described_leg = Some(if legs.trunk.is_some() {
            LegId::TRUNK
        } else {
            LegId::VENDOR
        });
        let legs_and_mos = [
            (LegId::VENDOR, legs.vendor, legs.mos_at_vendor()),
            (LegId::TRUNK, legs.trunk, legs.mos_at_trunk()),
        ];
        for (id, leg, mos) in legs_and_mos {
            if let Some(Leg {
                format, statistics, ..
            }) = leg
            {
                account.legs.push(LegAccount {
                    leg: id,
                    codec: format.codec,
                    statistics,
                    mos_as_heard: mos.and_then(|mos| heard(&statistics, mos)),
                });
            }
        }
        account.directions = call
            .bridge
            .iter()
            .flat_map(|bridge| bridge.routes())
            .map(direction_account)
            .collect();
        account
    }

    /// What `stats{}` tells while the call goes on.
    pub(super) fn call_stats(&self, key: CallKey) -> Option<CallStats> {
        let call = self.calls.get(key.0)?;
        let legs = self.legs(call)?;
        let peer = self.session_of(&call.vendor)?.peer.as_ref()?;
        let caller = LegStats {
            available_bitrate_bps: Some(peer.available_bitrate_bps()),
            ..leg_stats(&legs.vendor?.statistics, legs.mos_at_vendor()?)
        };
        let far_end = match &legs.trunk {
            Some(trunk) => leg_stats(&trunk.statistics, legs.mos_at_trunk()?),
            None => caller,
        };
        Some(CallStats {
            call_sid: call.machine.identity().call_sid,
            caller,
            far_end,
        })
    }

    fn set_up_times(&self, call: &Call) -> SetUpTimes {
        let session = self.session_of(&call.vendor);
        SetUpTimes {
            authenticated_ms: session.and_then(|session| session.authenticated_ms),
            media_ms: session.and_then(|session| session.media_ms),
            ..call.stages.times()
        }
    }

    fn legs(&self, call: &Call) -> Option<Legs> {
        let bridge = call.bridge.as_ref()?;
        let peer = self.session_of(&call.vendor);
        let peer = peer.and_then(|session| session.peer.as_ref());
        let transcoded = bridge
            .routes()
            .any(|route| matches!(route.direction.plan(), Plan::Transcode { .. }));
        let fec_recovers = |from: LegId| {
            let statistics = bridge
                .routes()
                .find(|route| route.from == from)
                .map(|route| route.direction.statistics());
            statistics.is_some_and(|statistics| statistics.fec_recovered > statistics.concealed)
        };
        let leg = |id: LegId, format: StreamFormat, statistics: LegStatistics| Leg {
            format,
            statistics,
            fec_recovers: fec_recovers(id),
        };
        let of_pcm = |key: PcmKey| {
            let socket = self.pcm.get(key)?;
            let leg = socket.leg.as_ref()?;
            let format = leg.config().encoding.leg_format();
            let missing = socket.dialect.statistics().media_missing;
            Some((format.sink, pcm_statistics(leg, missing)))
        };
        let vendor_pcm = self
            .session_of(&call.vendor)
            .and_then(|session| session.pcm);
        let vendor = match vendor_pcm {
            Some(pcm) => of_pcm(pcm),
            None => peer.map(|peer| (peer.format(), peer.statistics())),
        };
        let trunk = match call.trunk.pcm() {
            Some(pcm) => of_pcm(pcm),
            None => call.trunk.statistics(),
        };
        Some(Legs {
            vendor: vendor.map(|(format, statistics)| leg(LegId::VENDOR, format, statistics)),
            trunk: trunk.map(|(format, statistics)| leg(LegId::TRUNK, format, statistics)),
            transcoded,
        })
    }
}

impl Legs {
    /// As the vendor's caller hears it.
    fn mos_at_vendor(&self) -> Option<f64> {
        self.mos(self.trunk.or(self.vendor)?, self.vendor?)
    }

    /// As the trunk's far end hears it.
    fn mos_at_trunk(&self) -> Option<f64> {
        self.mos(self.vendor.or(self.trunk)?, self.trunk.or(self.vendor)?)
    }

    fn mos(&self, from: Leg, to: Leg) -> Option<f64> {
        if from.statistics.packets_received == 0 {
            // Nothing came that could have been heard.
            return Some(MOS_OF_SILENCE);
        }
        let remote_loss_pct = to.statistics.remote_loss_fraction * 100.0;
        let sends_fec = self.transcoded && to.statistics.remote_loss_fraction >= opus::FEC_LOSS_MIN;
        let path = Path {
            source: section(&from, from.fec_recovers, loss_pct(&from.statistics)),
            sink: section(&to, sends_fec, remote_loss_pct),
            transcoded: self.transcoded,
            packetisation_ms: to.format.ptime_ms.into(),
        };
        Some(path.mos())
    }
}

/// What a leg on a WebSocket would be as RTP: a packet is a frame of 20 ms. Lost is what a peer that numbers its messages (Twilio)
/// has left out. TCP loses none, and a peer that pauses is not told from one that is late, so what was made up meanwhile is no
/// loss: it has counters of its own.
fn pcm_statistics(leg: &PcmLeg, missing: u64) -> LegStatistics {
    let statistics = leg.statistics();
    let frame_bytes = leg.config().encoding.frame_bytes() as u64;
    let (from, to) = (statistics.from_socket, statistics.to_socket);
    LegStatistics {
        packets_sent: to.frames + to.concealed + to.silence,
        packets_received: from.frames,
        packets_lost: missing,
        bytes_sent: (to.frames + to.concealed + to.silence) * frame_bytes,
        bytes_received: from.frames * frame_bytes,
        ..LegStatistics::default()
    }
}

fn section(leg: &Leg, fec: bool, loss_pct: f64) -> Section {
    Section {
        impairment: Impairment::of(leg.format.codec, fec),
        loss_pct,
        round_trip_ms: leg.statistics.round_trip_time_ms.unwrap_or(0.0),
    }
}

fn loss_pct(statistics: &LegStatistics) -> f64 {
    let expected = statistics.packets_received + statistics.packets_lost;
    if expected == 0 {
        0.0
    } else {
        statistics.packets_lost as f64 * 100.0 / expected as f64
    }
}

/// None for a leg that nothing went to because nothing ever came from either side.
fn heard(statistics: &LegStatistics, mos: f64) -> Option<f64> {
    (statistics.packets_sent > 0 || statistics.packets_received > 0).then_some(mos)
}

fn leg_stats(statistics: &LegStatistics, mos: f64) -> LegStats {
    LegStats {
        packets_sent: statistics.packets_sent,
        packets_received: statistics.packets_received,
        packets_lost: statistics.packets_lost,
        jitter_ms: statistics.jitter_ms,
        rtt_ms: statistics.round_trip_time_ms,
        mos,
        available_bitrate_bps: None,
    }
}

fn direction_account(route: &crate::bridge::Route) -> DirectionAccount {
    DirectionAccount {
        from: route.from,
        to: route.to,
        plan: route.direction.plan().to_string(),
        statistics: route.direction.statistics(),
    }
}
