//! Our light client over a plain RTP far end: transcoding, ports, IPv6 to IPv4, digits, loss of media.
