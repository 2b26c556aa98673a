//! One call's life, told: `CallEvent`, the call machine, Q.850 causes, MOS, the call record, and the messages that a
//! shard and the control thread exchange about calls. Pure: time comes in, events come out.

mod announcement;
pub mod dialled;
mod event;
mod machine;
pub mod mos;
pub mod q850;
mod record;
pub mod rings;
mod trunk_media;

pub use announcement::*;
pub use event::*;
pub use machine::*;
pub use record::*;
pub use trunk_media::*;
