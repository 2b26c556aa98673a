//! The legs of a call and the ways between them.
//!
//! Two legs and one [`Route`] each way is the fast case and all there is now. The interface takes more: a leg may have
//! several routes out of it (a recorder, a supervisor who listens), and a mixer joins as a leg of its own, with one
//! route from each speaker into it and one from it to each listener, so that a conference is routes too.

use std::time::Instant;

use super::{BridgeError, Direction, DirectionOptions, LegFormat, Output};
use crate::id::LegId;
use crate::rtp::MediaPacket;

/// Routes of one call at most.
pub const ROUTES_MAX: usize = 16;

/// One way between two legs.
pub struct Route {
    /// Who speaks.
    pub from: LegId,
    /// Who hears it.
    pub to: LegId,
    /// What is done to the audio between them.
    pub direction: Direction,
}

/// All routes of a call.
#[derive(Default)]
pub struct Bridge {
    routes: Vec<Route>,
}

impl Bridge {
    /// Two legs, connected both ways. Each leg is named with its format and the options of the direction towards it.
    ///
    /// # Errors
    /// [`BridgeError::Codec`] when libopus can't be set up.
    pub fn connect(
        (a, a_format, towards_a): (LegId, &LegFormat, DirectionOptions),
        (b, b_format, towards_b): (LegId, &LegFormat, DirectionOptions),
    ) -> Result<Self, BridgeError> {
        let mut bridge = Self {
            routes: Vec::with_capacity(2),
        };
        let to_b = Direction::new(&a_format.source, &b_format.sink, towards_b)?;
        let to_a = Direction::new(&b_format.source, &a_format.sink, towards_a)?;
        bridge.add_route(a, b, to_b)?;
        bridge.add_route(b, a, to_a)?;
        Ok(bridge)
    }

    /// One more way; a second one between the same legs replaces the first.
    ///
    /// # Errors
    /// [`BridgeError::TooManyRoutes`] beyond [`ROUTES_MAX`].
    pub fn add_route(
        &mut self,
        from: LegId,
        to: LegId,
        direction: Direction,
    ) -> Result<(), BridgeError> {
        self.routes
            .retain(|route| (route.from, route.to) != (from, to));
        if self.routes.len() >= ROUTES_MAX {
            return Err(BridgeError::TooManyRoutes(ROUTES_MAX));
        }
        self.routes.push(Route {
            from,
            to,
            direction,
        });
        Ok(())
    }

    /// A leg went: all its routes go.
    pub fn remove_leg(&mut self, leg: LegId) {
        self.routes
            .retain(|route| route.from != leg && route.to != leg);
    }

    /// Every route.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// Every route, to be polled.
    pub fn routes_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.routes.iter_mut()
    }

    /// The first route out of `from`: with two legs the only one.
    pub fn route_mut(&mut self, from: LegId) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.from == from)
    }

    /// The first route into `to`: with two legs the only one. Digits for a leg are sent here.
    pub fn route_towards_mut(&mut self, to: LegId) -> Option<&mut Route> {
        self.routes.iter_mut().find(|route| route.to == to)
    }

    /// A packet that `from` sent goes to all its routes.
    pub fn handle_packet(&mut self, from: LegId, now: Instant, packet: &MediaPacket<'_>) {
        for route in self.routes.iter_mut().filter(|route| route.from == from) {
            route.direction.handle_packet(now, packet);
        }
    }

    /// Does what is due at `now` on all routes.
    pub fn handle_timeout(&mut self, now: Instant) {
        for route in &mut self.routes {
            route.direction.handle_timeout(now);
        }
    }

    /// The next output of any route, and the leg that it is for. Its payload is in `payload`; see
    /// [`Direction::poll_output`].
    pub fn poll_output(&mut self, payload: &mut [u8]) -> Option<(LegId, Output)> {
        self.routes
            .iter_mut()
            .find_map(|route| Some((route.to, route.direction.poll_output(payload)?)))
    }

    /// When [`Bridge::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.routes
            .iter()
            .filter_map(|route| route.direction.poll_timeout())
            .min()
    }

    /// Closes one way, or opens it again. Which ways a hold closes is for the owner of the legs to say: by RFC 3264 a
    /// leg that holds with `sendonly` may still be heard (music), with `inactive` it may not.
    pub fn set_held(&mut self, from: LegId, to: LegId, held: bool) {
        for route in &mut self.routes {
            if (route.from, route.to) == (from, to) {
                route.direction.set_held(held);
            }
        }
    }

    /// A leg renegotiated: all its routes follow; see [`Direction::replace_formats`].
    ///
    /// # Errors
    /// [`BridgeError::UnknownLeg`], [`BridgeError::Codec`].
    pub fn replace_format(
        &mut self,
        now: Instant,
        leg: LegId,
        format: &LegFormat,
    ) -> Result<(), BridgeError> {
        let mut is_known = false;
        for route in &mut self.routes {
            let (source, sink) = (*route.direction.source(), *route.direction.sink());
            if route.from == leg {
                route
                    .direction
                    .replace_formats(now, &format.source, &sink)?;
                is_known = true;
            } else if route.to == leg {
                route
                    .direction
                    .replace_formats(now, &source, &format.sink)?;
                is_known = true;
            }
        }
        if is_known {
            Ok(())
        } else {
            Err(BridgeError::UnknownLeg(leg.0))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::super::{Codec, DigitTones, Output, PAYLOAD_LEN_MAX, StreamFormat};
    use super::*;
    use crate::rtp::{PayloadType, RtpTimestamp, SequenceNumber, Ssrc};

    fn format(codec: Codec, payload_type: u8) -> StreamFormat {
        StreamFormat {
            codec,
            payload_type: PayloadType(payload_type),
            ptime_ms: 20,
            telephone_event: None,
        }
    }

    fn two_legs() -> Bridge {
        let options = DirectionOptions {
            reorder_wait: Duration::from_millis(20),
            force_transcode: false,
            tones_to_sink: DigitTones::Never,
            tones_from_source: DigitTones::Never,
            initial_sequence_number: SequenceNumber(1),
            initial_timestamp: RtpTimestamp(1),
        };
        Bridge::connect(
            (LegId::VENDOR, &format(Codec::Pcmu, 0).into(), options),
            (LegId::TRUNK, &format(Codec::Pcma, 8).into(), options),
        )
        .unwrap()
    }

    /// What a packet of `from` leads to: the legs and payload types that it goes to.
    fn speak(bridge: &mut Bridge, from: LegId, sequence: u16) -> Vec<(LegId, u8)> {
        let packet = MediaPacket {
            marker: false,
            payload_type: PayloadType(if from == LegId::VENDOR { 0 } else { 8 }),
            sequence_number: SequenceNumber(sequence),
            timestamp: RtpTimestamp(u32::from(sequence) * 160),
            ssrc: Ssrc(from.0.into()),
            payload: &[0xd5; 160],
        };
        bridge.handle_packet(from, Instant::now(), &packet);
        let mut payload = [0; PAYLOAD_LEN_MAX];
        let mut heard = Vec::new();
        for route in bridge.routes_mut() {
            while let Some(output) = route.direction.poll_output(&mut payload) {
                if let Output::Packet { payload_type, .. } = output {
                    heard.push((route.to, payload_type.0));
                }
            }
        }
        heard
    }

    #[test]
    fn two_legs_hear_each_other_in_their_own_codec() {
        let mut bridge = two_legs();
        assert_eq!(speak(&mut bridge, LegId::VENDOR, 1), [(LegId::TRUNK, 8)]);
        assert_eq!(speak(&mut bridge, LegId::TRUNK, 1), [(LegId::VENDOR, 0)]);
        let plan = bridge.route_mut(LegId::TRUNK).unwrap().direction.plan();
        assert_eq!(plan.to_string(), "PCMA>pcm8k>PCMU");
        bridge.remove_leg(LegId::TRUNK);
        assert_eq!(bridge.routes().count(), 0);
    }

    #[test]
    fn a_leg_that_holds_with_music_is_heard_and_hears_nothing() {
        let mut bridge = two_legs();
        bridge.set_held(LegId::VENDOR, LegId::TRUNK, true);
        assert_eq!(speak(&mut bridge, LegId::VENDOR, 1), []);
        assert_eq!(speak(&mut bridge, LegId::TRUNK, 1), [(LegId::VENDOR, 0)]);
        bridge.set_held(LegId::VENDOR, LegId::TRUNK, false);
        assert_eq!(speak(&mut bridge, LegId::VENDOR, 2), [(LegId::TRUNK, 8)]);
    }

    #[test]
    fn a_third_leg_listens_and_routes_are_bounded() {
        let mut bridge = two_legs();
        let options = DirectionOptions {
            reorder_wait: Duration::ZERO,
            force_transcode: false,
            tones_to_sink: DigitTones::Never,
            tones_from_source: DigitTones::Never,
            initial_sequence_number: SequenceNumber(1),
            initial_timestamp: RtpTimestamp(1),
        };
        let source = format(Codec::Pcmu, 0);
        let listener = || Direction::new(&source, &format(Codec::Pcmu, 100), options).unwrap();
        bridge
            .add_route(LegId::VENDOR, LegId(2), listener())
            .unwrap();
        assert_eq!(
            speak(&mut bridge, LegId::VENDOR, 1),
            [(LegId::TRUNK, 8), (LegId(2), 100)]
        );
        for leg in 3..ROUTES_MAX as u8 {
            bridge
                .add_route(LegId::VENDOR, LegId(leg), listener())
                .unwrap();
        }
        let refused = bridge.add_route(LegId::VENDOR, LegId(100), listener());
        assert_eq!(refused, Err(BridgeError::TooManyRoutes(ROUTES_MAX)));
        let unknown = bridge.replace_format(Instant::now(), LegId(200), &source.into());
        assert_eq!(unknown, Err(BridgeError::UnknownLeg(200)));
    }

    #[test]
    fn each_side_numbers_payload_types_for_itself() {
        let options = DirectionOptions {
            reorder_wait: Duration::from_millis(20),
            force_transcode: false,
            tones_to_sink: DigitTones::Never,
            tones_from_source: DigitTones::Never,
            initial_sequence_number: SequenceNumber(1),
            initial_timestamp: RtpTimestamp(1),
        };
        let trunk = LegFormat {
            source: format(Codec::Pcma, 96),
            sink: format(Codec::Pcma, 8),
        };
        let mut bridge = Bridge::connect(
            (LegId::VENDOR, &format(Codec::Pcmu, 0).into(), options),
            (LegId::TRUNK, &trunk, options),
        )
        .unwrap();
        assert_eq!(speak(&mut bridge, LegId::VENDOR, 1), [(LegId::TRUNK, 8)]);
        assert_eq!(
            speak(&mut bridge, LegId::TRUNK, 1),
            [],
            "8 is not what it sends"
        );
        let swapped = LegFormat {
            source: trunk.sink,
            sink: trunk.source,
        };
        let now = Instant::now();
        bridge.replace_format(now, LegId::TRUNK, &swapped).unwrap();
        assert_eq!(speak(&mut bridge, LegId::VENDOR, 2), [(LegId::TRUNK, 96)]);
        assert_eq!(speak(&mut bridge, LegId::TRUNK, 2), [(LegId::VENDOR, 0)]);
    }
}
