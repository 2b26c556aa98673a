//! Offer/answer of one leg (RFC 3264, 6337), with the offer that waits: texts of bodies in, media out.

use std::net::SocketAddr;

use crate::trunk::sdp::{LocalOffer, Negotiated, OfferAnswer, RemoteDescription, SdpError};

/// What an offer of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferKind {
    /// Everything that we can.
    Full,
    /// What was sent last, held or not.
    Hold(bool),
}

/// A leg's offers and answers.
#[derive(Debug)]
pub struct Negotiation {
    exchange: OfferAnswer,
    local: SocketAddr,
    offer: Option<LocalOffer>,
    /// The To tag of whoever answered the offer last.
    answered_by: Option<String>,
}

impl Negotiation {
    /// A leg on which nobody has said anything yet.
    pub fn new(exchange: OfferAnswer, local: SocketAddr) -> Self {
        Self {
            exchange,
            local,
            offer: None,
            answered_by: None,
        }
    }

    /// Our media socket, as the far end is told.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Our offer.
    ///
    /// # Errors
    /// One waits for its answer already.
    pub fn offer(&mut self, kind: OfferKind) -> Result<String, SdpError> {
        let offer = match kind {
            OfferKind::Full => self.exchange.make_offer()?,
            OfferKind::Hold(hold) => self.exchange.make_hold_offer(hold)?,
        };
        let sdp = offer.sdp().as_str().to_owned();
        self.offer = Some(offer);
        self.answered_by = None;
        Ok(sdp)
    }

    /// The answer to our offer by the far end with that tag. Another tag is another far end: nothing of the one before
    /// holds for it.
    ///
    /// # Errors
    /// What is wrong with it; what was agreed before still holds.
    pub fn take_answer(&mut self, remote_tag: &str, body: &[u8]) -> Result<Negotiated, SdpError> {
        let offer = self.offer.clone().ok_or(SdpError::NotOffered)?;
        let description = RemoteDescription::parse(body)?;
        let is_another = self
            .answered_by
            .as_deref()
            .is_some_and(|tag| tag != remote_tag);
        if is_another {
            self.exchange.restart(&offer);
        }
        let negotiated = self.exchange.answer_received(&offer, &description)?;
        self.answered_by = Some(remote_tag.to_owned());
        Ok(negotiated)
    }

    /// The far end's offer: our answer, and what it leads to.
    ///
    /// # Errors
    /// What is wrong with it; what was agreed before still holds.
    pub fn answer(&mut self, body: &[u8]) -> Result<(String, Negotiated), SdpError> {
        let description = RemoteDescription::parse(body)?;
        let answer = self.exchange.offer_received(&description)?;
        self.offer = None;
        Ok((answer.sdp.as_str().to_owned(), answer.negotiated))
    }

    /// Our offer was refused, or will never be answered.
    pub fn roll_back(&mut self) {
        self.exchange.roll_back();
        self.offer = None;
    }

    /// Whether an offer of ours waits.
    pub fn waits(&self) -> bool {
        self.exchange.offer_outstanding()
    }

    /// Whether we hold the far end, or offer to.
    pub fn holds(&self) -> bool {
        self.exchange.holds()
    }
}
