//! The call record: the final event and both legs' accounts.

use super::CallEvent;

/// What is kept of a call after its end.
#[derive(Debug, Clone, serde::Serialize)]
pub struct CallRecord {
    /// The final event.
    pub event: CallEvent,
}
