//! A call over a WebSocket that carries its sound: what Twilio's and a Vapi relay's calls have in common once they are begun.

use tokio::sync::watch;

use super::call::{CallFailure, Stage, StageTimes, Stopwatch, failed, failed_at, within};
use super::media::{Leg, LegRecord, MediaThreads, StreamPlan};

/// A call that is up.
pub struct StreamCall {
    leg: Leg,
    /// Its set-up.
    pub setup: StageTimes,
}

impl StreamCall {
    /// Talks from now on, and waits for the far end's first sound: nothing else tells of its answer.
    pub(super) async fn begin(
        media: &MediaThreads,
        plan: StreamPlan,
        mut watch: Stopwatch,
    ) -> Result<Self, CallFailure> {
        let leg = media.open_stream(plan);
        let mut leg = leg.map_err(|error| failed(Stage::Answer, &error))?;
        let mut first: watch::Receiver<_> = leg.first_packet();
        let answered = within(Stage::Answer, async {
            tokio::select! {
                heard = first.wait_for(Option::is_some) => {
                    heard.map(|_| ()).map_err(|_| failed(Stage::Answer, &"the media thread is gone"))
                }
                end = leg.ended() => Err(failed(Stage::Answer, &end)),
            }
        });
        answered.await??;
        watch.lap(Stage::Answer);
        Ok(Self {
            leg,
            setup: watch.times,
        })
    }

    /// Waits until the gateway ends the call by itself. Safe to drop at any time.
    pub async fn ended_by_gateway(&mut self) -> CallFailure {
        let end = self.leg.ended().await;
        failed_at(None, &end)
    }

    /// Hangs up in the vendor's way, unless the gateway has; what was heard, if the media thread still tells.
    pub async fn hang_up(self) -> (Option<LegRecord>, Option<CallFailure>) {
        match self.leg.close_later().await {
            Ok(record) => {
                let fault = record.stream_fault();
                let fault =
                    fault.map(|why| failed_at(None, &format!("the caller's socket: {why}")));
                (Some(record), fault)
            }
            Err(_) => (None, Some(failed_at(None, &"the media thread is gone"))),
        }
    }
}
