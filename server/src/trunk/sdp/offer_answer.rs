//! One dialog's offers and answers (RFC 3264, RFC 6337): who may offer, what an offer says, what came out.

use std::net::SocketAddr;
use std::sync::Arc;

use super::crypto::{Crypto, KeySeed, SUITES};
use super::encoding::Encoding;
use super::local::{LocalAudio, LocalDescription, LocalSdp, Slot};
use super::negotiate::{FarEnd, Negotiated, NegotiationConfig, accept_answer, accept_offer};
use super::payload_numbers::PayloadNumbers;
use super::{RemoteDescription, SdpError};
use crate::bridge::Codec;
use crate::call::{RtpMedia, SrtpKeyPair};
use crate::rtp::{PayloadType, StreamDirection};
use crate::srtp::SrtpKeys;

/// One dialog's offer/answer state. A clone belongs to another dialog of the same INVITE; see [`OfferAnswer::restart`].
#[derive(Debug, Clone)]
pub struct OfferAnswer {
    config: NegotiationConfig,
    session_id: u64,
    key_seed: KeySeed,
    /// What both sides hold to be true.
    state: State,
    /// Of all that we sent, refused offers too: the far end has seen it.
    last_version: u64,
    /// Our last offer, until something else follows it.
    offer: Option<MadeOffer>,
}

/// An offer that we made. Several dialogs may answer it: each takes it with [`OfferAnswer::restart`].
#[derive(Debug, Clone)]
pub struct LocalOffer(Arc<OfferParts>);

#[derive(Debug)]
struct OfferParts {
    sdp: LocalSdp,
    description: LocalDescription,
    /// What was true before it; after a refusal it is again.
    before: State,
    /// With what the offer itself fixes.
    after: State,
}

/// Our answer to an offer of the far end.
#[derive(Debug, Clone)]
pub struct LocalAnswer {
    /// For the response, or the ACK or PRACK.
    pub sdp: LocalSdp,
    /// What holds from now on.
    pub negotiated: Negotiated,
}

#[derive(Debug, Clone)]
struct MadeOffer {
    offer: LocalOffer,
    answered: bool,
}

#[derive(Debug, Clone, Default)]
struct State {
    numbers: PayloadNumbers,
    /// Our last SDP.
    sent: Option<Sent>,
    agreed: Option<Agreed>,
    /// Do we hold the call?
    holds: bool,
    /// See [`KeySeed::keys`].
    key_generation: u32,
}

#[derive(Debug, Clone)]
struct Sent {
    version: u64,
    description: LocalDescription,
}

#[derive(Debug, Clone)]
struct Agreed {
    codec: Codec,
    remote: SocketAddr,
    remote_rtcp: SocketAddr,
    srtp: Option<AgreedKeys>,
}

#[derive(Debug, Clone)]
struct AgreedKeys {
    ours: Crypto,
    theirs: SrtpKeys,
}

impl LocalOffer {
    /// For the INVITE or UPDATE, or the response to an INVITE without SDP.
    pub fn sdp(&self) -> &LocalSdp {
        &self.0.sdp
    }
}

impl OfferAnswer {
    /// Random bytes that a dialog needs: session id and keys.
    pub const ENTROPY_LEN: usize = 4 + KeySeed::LEN;

    /// A dialog in which nobody has said anything yet.
    pub fn new(config: NegotiationConfig, entropy: [u8; Self::ENTROPY_LEN]) -> Self {
        let [i0, i1, i2, i3, seed @ ..] = entropy;
        Self {
            config,
            // 31 bits: some read it as a signed 32-bit integer.
            session_id: u64::from(u32::from_be_bytes([i0, i1, i2, i3]) >> 1),
            key_seed: KeySeed::new(seed),
            state: State::default(),
            last_version: 0,
            offer: None,
        }
    }

    /// An offer of everything that we can, what is in use first: for the first INVITE, and for the answer to a
    /// (re-)INVITE without SDP.
    ///
    /// # Errors
    /// [`SdpError::OfferOutstanding`]; [`SdpError::NoPayloadType`] after dozens of changed offers.
    pub fn make_offer(&mut self) -> Result<LocalOffer, SdpError> {
        let mut state = self.state_for_offer()?;
        let formats = self.all_formats(&mut state)?;
        Ok(self.offer_formats(state, formats))
    }

    /// An offer that holds the call or takes it off hold, with the codecs of our last SDP, what is in use first: no far
    /// end shall change the codec because of it.
    ///
    /// # Errors
    /// As [`OfferAnswer::make_offer`].
    pub fn make_hold_offer(&mut self, hold: bool) -> Result<LocalOffer, SdpError> {
        let mut state = self.state_for_offer()?;
        state.holds = hold;
        let mut formats = self.formats_as_sent(&mut state)?;
        let in_use = state.agreed.as_ref();
        let in_use = in_use.map(|agreed| Encoding::Audio(agreed.codec));
        formats.sort_by_key(|(_, encoding)| Some(*encoding) != in_use);
        Ok(self.offer_formats(state, formats))
    }

    /// An offer of what our last SDP had, with the same version if nothing is different: for session timers (RFC 4028
    /// section 7.4). The direction is what we want, not what was agreed (RFC 6337 section 5.3).
    ///
    /// # Errors
    /// As [`OfferAnswer::make_offer`].
    pub fn make_refresh_offer(&mut self) -> Result<LocalOffer, SdpError> {
        let mut state = self.state_for_offer()?;
        let formats = self.formats_as_sent(&mut state)?;
        Ok(self.offer_formats(state, formats))
    }

    /// Takes the answer to our last offer. One that comes again, as in 183 and then 200, is computed again.
    ///
    /// # Errors
    /// [`SdpError`]; what was agreed before is still agreed, the offer still waits. [`SdpError::NotOffered`] if `offer`
    /// is not this dialog's last: what comes is no answer, as an SDP in 200 that repeats one in a PRACKed 183.
    pub fn answer_received(
        &mut self,
        offer: &LocalOffer,
        answer: &RemoteDescription,
    ) -> Result<Negotiated, SdpError> {
        let made = self.offer.as_ref();
        made.filter(|made| Arc::ptr_eq(&made.offer.0, &offer.0))
            .ok_or(SdpError::NotOffered)?;
        let mut state = offer.0.after.clone();
        let (index, audio) = (
            offer.0.description.audio_index(),
            &offer.0.description.audio,
        );
        let far_end = accept_answer(answer, &self.config, index, audio)?;
        let ours = far_end
            .crypto
            .as_ref()
            .and_then(|answered| audio.crypto_like(answered))
            .cloned();
        let negotiated = state.agree(&far_end, audio, ours)?;
        self.state = state;
        self.offer = Some(MadeOffer {
            offer: offer.clone(),
            answered: true,
        });
        Ok(negotiated)
    }

    /// Takes an offer and answers it.
    ///
    /// # Errors
    /// [`SdpError`], with [`SdpError::sip_status`] for the response; what was agreed before is still agreed.
    pub fn offer_received(&mut self, offer: &RemoteDescription) -> Result<LocalAnswer, SdpError> {
        if self.offer_outstanding() {
            return Err(SdpError::Glare);
        }
        let mut state = self.state.clone();
        let in_use = state.agreed.as_ref().map(|agreed| agreed.codec);
        let far_end = accept_offer(offer, &self.config, in_use)?;
        let audio = self.answer_audio(&mut state, &far_end)?;
        let ours = audio.crypto.first().cloned();
        let negotiated = state.agree(&far_end, &audio, ours)?;
        let slots = offer.media.iter().enumerate().map(|(index, media)| {
            if index == far_end.index {
                Slot::Audio
            } else {
                Slot::rejected(media)
            }
        });
        let description = LocalDescription {
            address: self.config.local,
            slots: slots.collect(),
            audio,
        };
        let sdp = self.send(&mut state, description);
        self.state = state;
        self.offer = None;
        Ok(LocalAnswer { sdp, negotiated })
    }

    /// Our last offer was refused, or will never be answered: what was agreed before it holds again, our hold too.
    pub fn roll_back(&mut self) {
        if let Some(made) = self.offer.take() {
            self.state = made.offer.0.before.clone();
        }
    }

    /// Another far end answers `offer`: a fork or the target of a redirection, known by its To-tag. Nothing that an
    /// earlier far end said holds any longer.
    pub fn restart(&mut self, offer: &LocalOffer) {
        self.state = offer.0.after.clone();
        self.state.agreed = None;
        self.last_version = self.state.sent.as_ref().map_or(0, |sent| sent.version);
        self.offer = Some(MadeOffer {
            offer: offer.clone(),
            answered: false,
        });
    }

    /// Does an offer of ours wait for its answer? Then one of the far end is glare.
    pub fn offer_outstanding(&self) -> bool {
        self.offer.as_ref().is_some_and(|made| !made.answered)
    }

    /// Do we hold the call, or offer to?
    pub fn holds(&self) -> bool {
        self.state.holds
    }

    /// Has an offer ever been answered?
    pub fn is_agreed(&self) -> bool {
        self.state.agreed.is_some()
    }

    fn state_for_offer(&self) -> Result<State, SdpError> {
        if self.offer_outstanding() {
            return Err(SdpError::OfferOutstanding);
        }
        Ok(self.state.clone())
    }

    /// Our codecs, what is in use first, and telephone-event with each of their clocks.
    fn all_formats(&self, state: &mut State) -> Result<Vec<(PayloadType, Encoding)>, SdpError> {
        let in_use = state.agreed.as_ref().map(|agreed| agreed.codec);
        let mut codecs: Vec<Codec> = Vec::new();
        for codec in in_use.into_iter().chain(self.config.codecs()) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        let mut encodings: Vec<Encoding> = codecs.iter().copied().map(Encoding::Audio).collect();
        for codec in codecs {
            let clock_rate_hz = codec.clock_rate_hz();
            let event = Encoding::TelephoneEvent { clock_rate_hz };
            if !encodings.contains(&event) {
                encodings.push(event);
            }
        }
        // Without a number, it is not offered.
        let numbers = &mut state.numbers;
        let bound = encodings
            .into_iter()
            .filter_map(|encoding| Some((numbers.bind(encoding, None)?, encoding)));
        let formats: Vec<_> = bound.collect();
        match formats.first() {
            Some((_, Encoding::Audio(_))) => Ok(formats),
            _ => Err(SdpError::NoPayloadType("audio")),
        }
    }

    fn formats_as_sent(&self, state: &mut State) -> Result<Vec<(PayloadType, Encoding)>, SdpError> {
        match &state.sent {
            Some(sent) => Ok(sent.description.audio.formats.clone()),
            None => self.all_formats(state),
        }
    }

    fn offer_formats(
        &mut self,
        mut state: State,
        formats: Vec<(PayloadType, Encoding)>,
    ) -> LocalOffer {
        let sent = state.sent.as_ref().map(|sent| &sent.description);
        let agreed_keys = state
            .agreed
            .as_ref()
            .and_then(|agreed| agreed.srtp.as_ref());
        let crypto = match (agreed_keys, sent) {
            (Some(keys), _) => vec![keys.ours.clone()],
            (None, Some(sent)) if !sent.audio.crypto.is_empty() => sent.audio.crypto.clone(),
            _ if self.config.srtp => self.all_suites(&state),
            _ => Vec::new(),
        };
        let fresh_protocol = if crypto.is_empty() {
            "RTP/AVP"
        } else {
            "RTP/SAVP"
        };
        let description = LocalDescription {
            address: self.config.local,
            slots: sent.map_or_else(|| vec![Slot::Audio], |sent| sent.slots.clone()),
            audio: LocalAudio {
                protocol: sent.map_or_else(
                    || fresh_protocol.to_owned(),
                    |sent| sent.audio.protocol.clone(),
                ),
                formats,
                direction: state.wanted_direction(),
                ptime_ms: sent.map_or(self.config.ptime_ms, |sent| sent.audio.ptime_ms),
                rtcp_mux: self.config.offers_rtcp_mux
                    || sent.is_some_and(|sent| sent.audio.rtcp_mux),
                crypto,
            },
        };
        let before = self.state.clone();
        let sdp = self.send(&mut state, description.clone());
        let offer = LocalOffer(Arc::new(OfferParts {
            sdp,
            description,
            before,
            after: state.clone(),
        }));
        self.state = state;
        self.offer = Some(MadeOffer {
            offer: offer.clone(),
            answered: false,
        });
        offer
    }

    fn all_suites(&self, state: &State) -> Vec<Crypto> {
        let lines = (1..).zip(SUITES).filter_map(|(tag, profile)| {
            let keys = self.key_seed.keys(profile, state.key_generation)?;
            Some(Crypto { tag, keys })
        });
        lines.collect()
    }

    /// Our m-line in an answer: one codec, the far end's numbers where they are free.
    fn answer_audio(&self, state: &mut State, far_end: &FarEnd) -> Result<LocalAudio, SdpError> {
        // What is not spoken now may be offered by us later: with the far end's numbers too, for those who believe that
        // there is one number for both directions.
        for (theirs, encoding) in far_end.encodings.iter().rev() {
            state.numbers.bind(*encoding, Some(*theirs));
        }
        let codec = (Encoding::Audio(far_end.codec), far_end.payload_type);
        let event = far_end.telephone_event.map(|event| {
            let clock_rate_hz = event.clock_rate_hz;
            let encoding = Encoding::TelephoneEvent { clock_rate_hz };
            (encoding, event.payload_type)
        });
        let mut formats = Vec::with_capacity(2);
        for (encoding, theirs) in std::iter::once(codec).chain(event) {
            let number = state.numbers.bind(encoding, Some(theirs));
            let number = number.ok_or(SdpError::NoPayloadType(encoding.name()))?;
            formats.push((number, encoding));
        }
        let ptime_ms = if far_end.asks_ptime {
            far_end.ptime_ms
        } else {
            self.config.ptime_ms
        };
        Ok(LocalAudio {
            protocol: far_end.protocol.clone(),
            formats,
            direction: state.direction_towards(far_end.direction),
            ptime_ms,
            rtcp_mux: far_end.rtcp_mux,
            crypto: self.answer_crypto(state, far_end).into_iter().collect(),
        })
    }

    /// The same keys as before if the far end's are the same; else new ones, so that both sides may begin anew.
    fn answer_crypto(&self, state: &mut State, far_end: &FarEnd) -> Option<Crypto> {
        let agreed = state.agreed.as_ref().and_then(|agreed| agreed.srtp.clone());
        let offered = far_end.crypto.as_ref();
        if let (Some(agreed), Some(offered)) = (&agreed, offered)
            && agreed.theirs == offered.keys
        {
            return Some(Crypto {
                tag: offered.tag,
                keys: agreed.ours.keys.clone(),
            });
        }
        if agreed.is_some() {
            state.key_generation += 1;
        }
        let offered = offered?;
        let keys = self
            .key_seed
            .keys(offered.keys.profile(), state.key_generation)?;
        Some(Crypto {
            tag: offered.tag,
            keys,
        })
    }

    /// RFC 3264 section 8: the version grows by one with every SDP that is different from the one before.
    fn send(&mut self, state: &mut State, description: LocalDescription) -> LocalSdp {
        let unchanged = state.sent.as_ref().is_some_and(|sent| {
            sent.description == description && sent.version == self.last_version
        });
        if !unchanged {
            self.last_version += 1;
        }
        let sdp = description.write(self.session_id, self.last_version);
        state.sent = Some(Sent {
            version: self.last_version,
            description,
        });
        sdp
    }
}

impl State {
    fn wanted_direction(&self) -> StreamDirection {
        StreamDirection::new(true, !self.holds)
    }

    /// What we do when the far end does `theirs` (RFC 3264 section 6.1).
    fn direction_towards(&self, theirs: StreamDirection) -> StreamDirection {
        let wanted = self.wanted_direction();
        StreamDirection::new(
            wanted.sends() && theirs.receives(),
            wanted.receives() && theirs.sends(),
        )
    }

    /// Puts the far end's part and ours together.
    fn agree(
        &mut self,
        far_end: &FarEnd,
        audio: &LocalAudio,
        ours: Option<Crypto>,
    ) -> Result<Negotiated, SdpError> {
        let sends = far_end.sends();
        let event_clock_hz = sends.telephone_event.map(|event| event.clock_rate_hz);
        let receives = audio
            .receives(far_end.codec, event_clock_hz)
            .ok_or(SdpError::NotOffered)?;
        // On the old hold, media may come back to where it was.
        let before = self.agreed.as_ref().filter(|_| far_end.old_hold);
        let (remote, remote_rtcp) = match before {
            Some(agreed) => (agreed.remote, agreed.remote_rtcp),
            None => (far_end.remote, far_end.remote_rtcp),
        };
        let srtp = match (ours, &far_end.crypto) {
            (Some(ours), Some(theirs)) => Some(AgreedKeys {
                ours,
                theirs: theirs.keys.clone(),
            }),
            _ => None,
        };
        let keys = srtp.as_ref().map(|keys| SrtpKeyPair {
            ours: keys.ours.keys.clone(),
            theirs: keys.theirs.clone(),
        });
        self.agreed = Some(Agreed {
            codec: far_end.codec,
            remote,
            remote_rtcp,
            srtp,
        });
        let muxed = audio.rtcp_mux && far_end.rtcp_mux;
        Ok(Negotiated {
            media: RtpMedia {
                remote,
                remote_rtcp: (!muxed).then_some(remote_rtcp),
                sends,
                receives,
                direction: self.direction_towards(far_end.direction),
                srtp: keys,
            },
            far_end_holds: !far_end.direction.receives(),
        })
    }
}
