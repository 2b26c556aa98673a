//! The legs of a call and the ways between them.
//!
//! Two legs and one [`Route`] each way is the fast case and all there is now. The interface takes more: a leg may have
//! several routes out of it (a recorder, a supervisor who listens), and a mixer joins as a leg of its own, with one
//! route from each speaker into it and one from it to each listener, so that a conference is routes too.

use std::time::Instant;

use super::{BridgeError, Direction, DirectionOptions, Output, StreamFormat};
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
        (a, a_format, towards_a): (LegId, &StreamFormat, DirectionOptions),
        (b, b_format, towards_b): (LegId, &StreamFormat, DirectionOptions),
    ) -> Result<Self, BridgeError> {
        let mut bridge = Self {
            routes: Vec::with_capacity(2),
        };
        bridge.add_route(a, b, Direction::new(a_format, b_format, towards_b)?)?;
        bridge.add_route(b, a, Direction::new(b_format, a_format, towards_a)?)?;
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

    /// A leg is on hold (RFC 3264): nothing of it goes anywhere, and nothing goes to it. A route is free again when
    /// neither of its legs holds, which the owner of the legs knows.
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
        format: &StreamFormat,
    ) -> Result<(), BridgeError> {
        let mut is_known = false;
        for route in &mut self.routes {
            let (source, sink) = (*route.direction.source(), *route.direction.sink());
            if route.from == leg {
                route.direction.replace_formats(now, format, &sink)?;
                is_known = true;
            } else if route.to == leg {
                route.direction.replace_formats(now, &source, format)?;
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
