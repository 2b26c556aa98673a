//! What both sides agree on: descriptions of media, and how long a session lives (RFC 4028).

use std::time::{Duration, Instant};

use super::actions::{Request, SdpChange};
use super::driver::Driver;
use super::message::{SipMessage, parameter};
use super::sdp::{LocalSdp, RemoteSdp};

impl Driver {
    pub(super) fn refresh(&mut self, call: usize) {
        let Some(timer) = self.config.session_timer else {
            return;
        };
        let change = self.calls[call].change;
        let request = if timer.by_update {
            Request::update(None)
        } else {
            Request::reinvite(Some(change))
        };
        self.see(call, |view| view.refreshes_sent += 1);
        let expires = format!("{};refresher=uac", timer.expires_s);
        self.send_in_dialog(call, request.with("Session-Expires", &expires));
    }

    pub(super) fn expect_answer_in_ack(&mut self, call: usize) {
        if let Some(invite) = &mut self.calls[call].their_invite {
            invite.answer_in_ack = true;
        }
    }

    /// Our description, as an offer or as the answer to `theirs`.
    pub(super) fn local_sdp(
        &mut self,
        call: usize,
        change: SdpChange,
        theirs: Option<&RemoteSdp>,
    ) -> String {
        let known = &mut self.calls[call];
        known.media = change
            .media
            .unwrap_or(known.media)
            .min(self.media.len() - 1);
        known.change = change;
        known.sdp_version += 1;
        let (media, version) = (known.media, known.sdp_version);
        let direction = theirs.map_or(change.direction, |theirs| {
            theirs.direction.answer(change.direction)
        });
        let config = &self.config.media[media];
        let rtp = self.media[media].local_addr();
        let connection = if change.zero_address {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            rtp.ip()
        };
        let ours = LocalSdp {
            rtp,
            connection,
            format: config.format,
            direction,
            rtcp_mux: config.rtcp_mux && theirs.is_none_or(|theirs| theirs.rtcp_mux),
            version,
        };
        self.see(call, |view| view.direction = direction);
        ours.write()
    }

    /// Takes the other side's description: from now on media goes there.
    pub(super) fn hear(&mut self, call: usize, theirs: RemoteSdp) {
        let media = self.calls[call].media;
        let format = theirs.format_for(self.config.media[media].format);
        let (before, direction) = self.view(call, |view| (view.remote_rtp, view.direction));
        let held_by_address = theirs.rtp.ip().is_unspecified();
        let remote = if held_by_address {
            before
        } else {
            Some(theirs.rtp).filter(|rtp| rtp.port() != 0)
        };
        if let Some(old) = before.filter(|old| Some(*old) != remote) {
            self.media[media].adopt(old, None, false, false);
        }
        if let Some(remote) = remote {
            let sending = direction.sends() && theirs.direction.listens() && !held_by_address;
            let is_new = before.is_none();
            self.media[media].adopt(remote, format, sending && format.is_some(), is_new);
        }
        self.see(call, |view| {
            view.remote_rtp = remote;
            view.remote_sdp = Some(theirs);
        });
    }

    /// Does the other side know our codec?
    pub(super) fn speaks_our_codec(&self, call: usize, theirs: &RemoteSdp) -> bool {
        let format = self.config.media[self.calls[call].media].format;
        theirs.format_for(format).is_some()
    }

    /// The session's life in a 2xx, and when it is renewed.
    pub(super) fn with_session_timer(
        &mut self,
        call: usize,
        request: &SipMessage,
        response: SipMessage,
    ) -> SipMessage {
        let Some(timer) = self.config.session_timer else {
            return response;
        };
        let asked = request.header("Session-Expires");
        let expires_s = asked
            .and_then(|value| value.split(';').next()?.trim().parse().ok())
            .unwrap_or(u64::from(timer.expires_s));
        let refresher = asked.and_then(|value| parameter(value, "refresher"));
        let refresher = refresher.unwrap_or(if timer.refreshes { "uas" } else { "uac" });
        let at = Instant::now() + Duration::from_secs(expires_s) / 2;
        self.calls[call].refresh_at = (refresher == "uas").then_some(at);
        response.with("Require", "timer").with(
            "Session-Expires",
            format!("{expires_s};refresher={refresher}"),
        )
    }
}
