//! A WebSocket that was dialled for the vendor side of a call, who is behind it, and how it is left when nobody needs it any more.

use std::sync::Arc;

use shards::tick_stream::{LiveStream, TickStream};

use crate::config::{Secret, TenantConfig, TrunkConfig};
use crate::websocket::{MASK_ENTROPY_LEN, Writer};

/// RFC 6455 section 7.4.1.
const CLOSE_NORMAL: u16 = 1000;
/// What a peer that spoke first may have said, and is not heard. With more than it unread the kernel resets the connection, and
/// our last words with it.
const UNHEARD_BYTES_MAX: usize = 64 * 1024;

/// A socket behind its handshake.
#[derive(Debug)]
pub struct DialledSocket {
    /// The socket.
    pub live: LiveStream,
    /// Who is at its other end.
    pub peer: DialledPeer,
}

/// Who was dialled, as it was configured then: a reload does not change who is at the other end.
#[derive(Debug, Clone)]
pub enum DialledPeer {
    /// The agent of this trunk.
    Agent(Arc<TrunkConfig>),
    /// The assistant of this tenant.
    Vapi(VapiDialled),
}

/// A call at Vapi, which goes on, and is paid for, until somebody ends it.
#[derive(Debug, Clone)]
pub struct VapiDialled {
    /// Whose call.
    pub tenant: Arc<TenantConfig>,
    /// How it is ended.
    pub control: VapiControl,
}

/// How a call at Vapi is ended without its socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VapiControl {
    /// There is no call.
    NoCall,
    /// At its `monitor.controlUrl`, whose knowledge is all that it asks for.
    Url(Secret),
    /// Vapi named none: the assistant's `monitorPlan` forbids it.
    Unnamed,
}

/// Closes a socket that nobody has used, so that its peer does not wait for a time to pass.
pub fn say_goodbye(live: LiveStream) {
    let mut entropy = [0; MASK_ENTROPY_LEN];
    let (Ok(()), Ok((mut stream, mut unheard))) =
        (getrandom::fill(&mut entropy), TickStream::new(live))
    else {
        return;
    };
    let mut writer = Writer::client(entropy);
    writer.close(CLOSE_NORMAL, "the call is over");
    stream.write(&writer.buffer);
    stream.close_notify();
    // A socket that took nothing yet takes this at once; one that is lost needs no goodbye.
    let _ = stream.read(&mut unheard, UNHEARD_BYTES_MAX);
    let _ = stream.flush();
}
