//! SDP that names the relay in place of the gateway.

use std::net::SocketAddr;

/// The same SDP with every UDP candidate (RFC 8839 section 5.1) at `relay`.
pub fn with_candidates_at(sdp: &str, relay: SocketAddr) -> String {
    let mut rewritten = String::with_capacity(sdp.len());
    for line in sdp.split_inclusive('\n') {
        match candidate_at(line, relay) {
            Some(candidate) => rewritten.push_str(&candidate),
            None => rewritten.push_str(line),
        }
    }
    rewritten
}

fn candidate_at(line: &str, relay: SocketAddr) -> Option<String> {
    let mut fields: Vec<&str> = line
        .strip_prefix("a=candidate:")?
        .trim_end()
        .split(' ')
        .collect();
    // Foundation, component, transport, priority, address, port.
    let [_, _, transport, _, ip, port, ..] = fields.as_mut_slice() else {
        return None;
    };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    let (relay_ip, relay_port) = (relay.ip().to_string(), relay.port().to_string());
    (*ip, *port) = (&relay_ip, &relay_port);
    Some(format!("a=candidate:{}\r\n", fields.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_candidates_move_and_the_rest_stays() {
        let sdp = "v=0\r\na=candidate:1 1 udp 2130706431 192.0.2.1 10000 typ host\r\n\
                   a=candidate:2 1 UDP 2130706430 2001:db8::1 10000 typ host\r\n\
                   a=candidate:3 1 tcp 1 192.0.2.1 9 typ host tcptype active\r\na=end-of-candidates\r\n";
        let relay = SocketAddr::from(([127, 0, 0, 1], 4_000));
        assert_eq!(
            with_candidates_at(sdp, relay),
            "v=0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 4000 typ host\r\n\
             a=candidate:2 1 UDP 2130706430 127.0.0.1 4000 typ host\r\n\
             a=candidate:3 1 tcp 1 192.0.2.1 9 typ host tcptype active\r\na=end-of-candidates\r\n"
        );
    }
}
