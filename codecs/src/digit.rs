//! What a receiver of digits tells, however they came: as named events ([`crate::telephone_event`]) or as tones
//! ([`crate::dtmf`]).

/// A digit that a far end sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitReceived {
    /// 0-9, *, #, A-D.
    pub digit: char,
    /// How long it lasted. Named events: as the far end measured it, up to the last update heard if its end was lost.
    /// Tones: as we measured it, to about 10 ms.
    pub duration_ms: u32,
}

/// What a receiver tells, in this order for every digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigitProgress {
    /// A digit began; who relays live begins to send it.
    Started(char),
    /// The digit ended. Exactly one for each `Started`, and before the next.
    Ended(DigitReceived),
}
