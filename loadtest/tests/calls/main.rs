//! Calls through the real gateway, with real peers. One file per subject; each test starts a gateway of its own and leaves
//! nothing behind.

mod admission;
mod aiortc;
mod attacks;
mod bad_input;
mod chromium;
mod chromium_controls;
mod chromium_page;
mod congestion;
mod dnat;
mod faults;
mod floods;
mod forge;
mod impaired;
mod load_compare;
mod load_run;
mod overload;
mod process;
mod readme;
mod reload;
mod resume;
mod rtp_trunk;
mod shards;
mod shards_keys;
mod silence;
mod sip_trunk;
mod strangers;
mod tokens;
mod turn;
mod werift;
mod wire;
