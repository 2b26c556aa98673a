//! A relay between real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::*;

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 100];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (buffer[..len].to_vec(), from)
}

#[test]
fn each_client_has_an_address_of_its_own_at_the_target() {
    let target = socket();
    let relay = ImpairmentRelay::start(target.local_addr().unwrap(), 1).unwrap();
    let (alice, bob) = (socket(), socket());
    let mut mapped = Vec::new();
    for (client, name) in [(&alice, b"alice"), (&bob, b"bobby")] {
        client.send_to(name, relay.local_addr()).unwrap();
        let (heard, from) = receive(&target);
        assert_eq!(heard, name);
        target.send_to(b"hello", from).unwrap();
        assert_eq!(receive(client), (b"hello".to_vec(), relay.local_addr()));
        mapped.push(from);
    }
    assert_ne!(mapped[0], mapped[1]);
    assert_eq!(relay.mapped_addresses(), mapped);
    let to_target = relay.counters(Direction::ToTarget).all;
    assert_eq!((to_target.received, to_target.delivered), (2, 2));
}

#[test]
fn after_a_rebind_the_client_comes_from_elsewhere() {
    let target = socket();
    let relay = ImpairmentRelay::start(target.local_addr().unwrap(), 1).unwrap();
    let client = socket();
    client.send_to(b"before", relay.local_addr()).unwrap();
    let (_, before) = receive(&target);
    relay.rebind();
    client.send_to(b"after", relay.local_addr()).unwrap();
    let (_, after) = receive(&target);
    assert_ne!(before, after);
    target.send_to(b"lost", before).unwrap();
    target.send_to(b"found", after).unwrap();
    assert_eq!(receive(&client).0, b"found");
}

#[test]
fn what_is_delayed_comes_later() {
    let target = socket();
    let relay = ImpairmentRelay::start(target.local_addr().unwrap(), 1).unwrap();
    let delay = Duration::from_millis(100);
    relay.set(
        Direction::ToTarget,
        Profile {
            delay,
            ..Profile::default()
        },
    );
    let sent_at = Instant::now();
    socket().send_to(b"late", relay.local_addr()).unwrap();
    assert_eq!(receive(&target).0, b"late");
    assert!(sent_at.elapsed() >= delay);
}
