//! The echo trunk's far end: it answers at once.

use crate::call::TrunkMedia;
use crate::config::EchoCodec;

/// What the echo brings to the call.
pub(super) fn answer(codec: EchoCodec) -> TrunkMedia {
    TrunkMedia::Echo(codec)
}
