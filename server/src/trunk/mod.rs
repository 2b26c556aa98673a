//! The far end's media legs behind one interface: echo and RTP.
