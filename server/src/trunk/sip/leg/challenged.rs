//! Requests in a session that the far end may challenge: BYE, INFO, REFER. Each is sent once more, with the answer. The INVITE,
//! the re-INVITE and UPDATE answer their challenges themselves, as they are made anew each time.

use super::{Context, Leg, LegRequest};
use crate::trunk::sip::digest::DigestClient;
use crate::trunk::sip::message::{HeaderName, Request, Response};
use crate::trunk::sip::transaction::ClientId;

/// Requests that are kept until they are answered.
const CHALLENGEABLE_MAX: usize = 4;

/// A request that can be sent again.
#[derive(Debug)]
pub(super) struct Challengeable {
    client: ClientId,
    request: Request,
    digest: DigestClient,
}

impl Leg {
    /// As [`Leg::send_in_dialog`], for a request that may be challenged.
    pub(super) fn send_challengeable(
        &mut self,
        context: &mut Context<'_>,
        request: Request,
        purpose: LegRequest,
    ) -> Option<ClientId> {
        self.send_kept(context, request, purpose, DigestClient::default())
    }

    /// Answers the challenge to one of our requests. False: it was none, or it is final.
    pub(super) fn answer_challenge_to(
        &mut self,
        context: &mut Context<'_>,
        id: ClientId,
        purpose: LegRequest,
        response: &Response,
    ) -> bool {
        let kept = self.challengeable.iter().position(|kept| kept.client == id);
        let Some(mut kept) = kept.and_then(|at| self.challengeable.remove(at)) else {
            return false;
        };
        if !matches!(response.status.0, 401 | 407) {
            return false;
        }
        let cnonce = context.tokens.bytes();
        let credentials = self.sip.credentials.as_ref();
        let answered = kept
            .digest
            .answer(&mut kept.request, response, credentials, cnonce);
        let Some(dialog) = self.dialog.as_mut().filter(|_| answered.is_ok()) else {
            return false;
        };
        dialog.counted_to(dialog.local_cseq() + 1);
        let (number, method) = (dialog.local_cseq(), kept.request.method.clone());
        let cseq = format!("{number} {method}");
        kept.request.headers.set(HeaderName::CSeq, cseq);
        self.send_kept(context, kept.request, purpose, kept.digest)
            .is_some()
    }

    fn send_kept(
        &mut self,
        context: &mut Context<'_>,
        request: Request,
        purpose: LegRequest,
        digest: DigestClient,
    ) -> Option<ClientId> {
        let client = self.send_in_dialog(context, request.clone(), purpose)?;
        if self.challengeable.len() >= CHALLENGEABLE_MAX {
            self.challengeable.pop_front();
        }
        self.challengeable.push_back(Challengeable {
            client,
            request,
            digest,
        });
        Some(client)
    }
}
