//! Batched UDP between real sockets, over IPv4, IPv6 and both at once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_lite::future::or;
use shards::ShardIndex;
use shards::executor::{ExecutorSettings, available_cores, sleep, spawn};
use shards::udp::{PushError, ReceiveBatch, SendBatch, SendOutcome, SocketSet, UdpSocket};

const BYTES: usize = 1500;
const V4: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);
const V6: (Ipv6Addr, u16) = (Ipv6Addr::LOCALHOST, 0);
const BOTH: (Ipv6Addr, u16) = (Ipv6Addr::UNSPECIFIED, 0);
const PATIENCE: Duration = Duration::from_secs(10);

fn bind(addr: impl Into<SocketAddr>) -> UdpSocket {
    UdpSocket::bind(addr.into(), 1 << 20, 1 << 20).unwrap()
}

/// Receives until `count` datagrams are there.
fn receive(
    socket: &UdpSocket,
    batch: &mut ReceiveBatch,
    count: usize,
) -> Vec<(SocketAddr, Vec<u8>, bool)> {
    let begun = Instant::now();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(
            begun.elapsed() < PATIENCE,
            "only {} of {count} came",
            all.len()
        );
        let received = socket.receive(batch).unwrap();
        let packets: Vec<_> = batch
            .packets_mut()
            .map(|packet| (packet.from, packet.bytes.to_vec(), packet.truncated))
            .collect();
        assert_eq!(packets.len(), received);
        all.extend(packets);
    }
    all
}

#[test]
fn one_socket_serves_ipv4_and_ipv6_peers_under_their_own_addresses() {
    let gateway = bind(BOTH);
    let port = gateway.local_addr().port();
    let peers = [bind(V4), bind(V6)];
    let mut batch = ReceiveBatch::new(8, BYTES);
    let mut answers = SendBatch::new(8, BYTES);
    for peer in &peers {
        let to = SocketAddr::new(peer.local_addr().ip(), port);
        peer.send_to(b"question", to).unwrap();
        let received = receive(&gateway, &mut batch, 1);
        assert_eq!(received, [(peer.local_addr(), b"question".to_vec(), false)]);
        answers.push(received[0].0, b"answer").unwrap();
        // The same peer in its v4-mapped form is the same peer.
        if let SocketAddr::V4(v4) = peer.local_addr() {
            let mapped = SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()));
            answers.push(mapped, b"again").unwrap();
        }
    }
    let sent = gateway.send(&mut answers);
    assert_eq!(
        sent,
        SendOutcome {
            sent: 3,
            ..SendOutcome::default()
        }
    );
    let answers = receive(&peers[0], &mut batch, 2);
    assert_eq!(answers[0].1, b"answer");
    assert_eq!(answers[1].1, b"again");
    assert_eq!(receive(&peers[1], &mut batch, 1)[0].1, b"answer");
}

#[test]
fn more_than_a_batch_arrives_whole_and_in_order() {
    const PACKETS: usize = 200;
    let (receiver, sender) = (bind(V4), bind(V4));
    let mut sending = SendBatch::new(64, BYTES);
    let mut pending = 0..PACKETS;
    let mut outcomes = SendOutcome::default();
    while !pending.is_empty() || !sending.is_empty() {
        while let Some(slot) = sending.slot() {
            let Some(number) = pending.next() else { break };
            // Every length and content differs, so a mix-up of slots shows.
            let bytes = 1 + number * 7;
            slot[..bytes].fill(u8::try_from(number).unwrap());
            sending.commit(bytes, receiver.local_addr(), None);
        }
        let outcome = sender.send(&mut sending);
        outcomes.sent += outcome.sent;
        outcomes.failed += outcome.failed;
    }
    assert_eq!((outcomes.sent, outcomes.failed), (PACKETS, 0));
    let mut batch = ReceiveBatch::new(16, BYTES);
    for (number, (from, bytes, truncated)) in receive(&receiver, &mut batch, PACKETS)
        .into_iter()
        .enumerate()
    {
        assert_eq!(from, sender.local_addr());
        assert!(!truncated);
        assert_eq!(bytes, vec![u8::try_from(number).unwrap(); 1 + number * 7]);
    }
    assert_eq!(
        receiver.receive(&mut batch).unwrap(),
        0,
        "an empty socket says so"
    );
    assert_eq!(
        batch.packets_mut().count(),
        0,
        "and leaves no packets of before"
    );
}

#[test]
fn what_is_too_long_is_cut_and_marked() {
    let (receiver, sender) = (bind(V4), bind(V4));
    sender.send_to(&[7; 100], receiver.local_addr()).unwrap();
    sender.send_to(&[8; 10], receiver.local_addr()).unwrap();
    let mut batch = ReceiveBatch::new(4, 10);
    let packets = receive(&receiver, &mut batch, 2);
    assert_eq!(packets[0], (sender.local_addr(), vec![7; 10], true));
    assert_eq!(packets[1], (sender.local_addr(), vec![8; 10], false));

    sender.send_to(&[9; 100], receiver.local_addr()).unwrap();
    let mut buffer = [0; 10];
    assert_eq!(
        receiver.receive_one(&mut buffer).unwrap(),
        Some((10, sender.local_addr(), true))
    );
    assert_eq!(receiver.receive_one(&mut buffer).unwrap(), None);
}

#[test]
fn a_refused_destination_is_dropped_and_the_others_go_on() {
    let (receiver, sender) = (bind(V4), bind(V4));
    let mut sending = SendBatch::new(8, 70_000);
    let good = receiver.local_addr();
    sending
        .push("[::1]:9".parse().unwrap(), b"an IPv4 socket can't")
        .unwrap();
    sending.push(good, b"1").unwrap();
    sending.push(good, &[0; 66_000]).unwrap();
    sending.push(good, b"2").unwrap();
    sending
        .push("127.0.0.1:0".parse().unwrap(), b"port 0 is nowhere")
        .unwrap();
    sending
        .push("[::1]:9".parse().unwrap(), b"nor here")
        .unwrap();
    sending.push(good, b"3").unwrap();
    let outcome = sender.send(&mut sending);
    assert_eq!(
        outcome,
        SendOutcome {
            sent: 3,
            failed: 4,
            left: 0
        }
    );
    let mut batch = ReceiveBatch::new(8, BYTES);
    let received: Vec<_> = receive(&receiver, &mut batch, 3)
        .into_iter()
        .map(|packet| packet.1)
        .collect();
    assert_eq!(received, [b"1", b"2", b"3"]);
}

#[test]
fn a_full_batch_and_a_long_datagram_are_not_taken() {
    let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut sending = SendBatch::new(2, 4);
    assert_eq!(
        sending.push(to, b"12345"),
        Err(PushError::TooLong { bytes_max: 4 })
    );
    sending.push(to, b"1234").unwrap();
    sending.push(to, b"").unwrap();
    assert_eq!(sending.push(to, b"1"), Err(PushError::Full));
    assert!(sending.slot().is_none());
    assert_eq!(sending.len(), 2);
}

#[test]
fn a_set_names_the_sockets_that_have_something() {
    let sockets: Vec<UdpSocket> = (0..1500)
        .map(|_| UdpSocket::bind(V4.into(), 0, 0).unwrap())
        .collect();
    let mut set = SocketSet::new().unwrap();
    for (key, socket) in sockets.iter().enumerate() {
        set.insert(key as u64, socket).unwrap();
    }
    assert!(
        set.insert(0, &sockets[0]).is_err(),
        "a socket is in the set once"
    );
    let ready = |set: &mut SocketSet| {
        let mut keys = Vec::new();
        set.ready(|key| keys.push(key));
        keys.sort_unstable();
        keys
    };
    assert!(ready(&mut set).is_empty());

    let sender = bind(V4);
    for key in [3, 700, 1499] {
        sender.send_to(b"x", sockets[key].local_addr()).unwrap();
    }
    assert_eq!(ready(&mut set), [3, 700, 1499]);
    let mut buffer = [0; BYTES];
    assert_eq!(
        sockets[3].receive_one(&mut buffer).unwrap(),
        Some((1, sender.local_addr(), false))
    );
    set.remove(&sockets[700]).unwrap();
    assert!(set.remove(&sockets[700]).is_err());
    assert_eq!(ready(&mut set), [1499]);

    // More sockets than one call names: each gets its turn within two.
    for socket in &sockets {
        sender.send_to(b"y", socket.local_addr()).unwrap();
    }
    let mut seen: Vec<u64> = ready(&mut set);
    seen.extend(ready(&mut set));
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 1499);

    drop(sockets);
    assert!(ready(&mut set).is_empty(), "closed sockets leave the set");
}

#[test]
fn an_idle_socket_wakes_its_shard() {
    let settings = ExecutorSettings {
        core: available_cores().unwrap()[0],
        preempt_timer: Duration::from_micros(500),
        name: "shard-test".to_owned(),
    };
    let executor = spawn(ShardIndex(0), settings, || async {
        let socket = bind(BOTH);
        let peer = std::net::UdpSocket::bind(V4).unwrap();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local_addr().port()));
        let mut batch = ReceiveBatch::new(8, BYTES);
        for round in 0..50_u8 {
            // Every other wait is given up once, as a shard does that is woken by something else.
            if round % 2 == 0 {
                or(
                    async { socket.readable().await.unwrap() },
                    sleep(Duration::from_micros(200)),
                )
                .await;
            }
            let sending = peer.try_clone().unwrap();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                sending.send_to(&[round], to).unwrap();
            });
            let woken = or(
                async {
                    socket.readable().await.unwrap();
                    true
                },
                async {
                    sleep(PATIENCE).await;
                    false
                },
            );
            assert!(woken.await, "not woken in round {round}");
            let packets = receive(&socket, &mut batch, 1);
            assert_eq!(packets, [(peer.local_addr().unwrap(), vec![round], false)]);
            thread.join().unwrap();
        }
    })
    .unwrap();
    executor.join().unwrap();
}

#[test]
fn buffers_are_as_asked_or_as_the_system_allows() {
    let socket = UdpSocket::bind(V4.into(), 64 << 10, 32 << 10).unwrap();
    assert_eq!(socket.buffer_bytes().unwrap(), (128 << 10, 64 << 10));
}

/// A host has several addresses: what was sent to one of them is answered from it.
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for wildcard in ["[::]:0", "0.0.0.0:0"] {
        let socket = bind(wildcard.parse::<SocketAddr>().unwrap());
        socket.tell_addressed().unwrap();
        let port = socket.local_addr().port();
        for asked in ["127.0.0.1", "127.0.0.77"] {
            let asked: std::net::IpAddr = asked.parse().unwrap();
            let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            client.send_to(b"question", (asked, port)).unwrap();

            let mut batch = ReceiveBatch::new(4, BYTES);
            let deadline = Instant::now() + Duration::from_secs(5);
            while socket.receive(&mut batch).unwrap() == 0 {
                assert!(Instant::now() < deadline, "the question did not come");
            }
            let packet = batch.packets_mut().next().unwrap();
            assert_eq!(packet.addressed, Some(asked), "{wildcard}");
            let mut answers = SendBatch::new(4, BYTES);
            answers
                .push_from(packet.addressed, packet.from, b"answer")
                .unwrap();
            assert_eq!(socket.send(&mut answers).sent, 1);

            let mut answer = [0; 16];
            let (_, from) = client.recv_from(&mut answer).unwrap();
            assert_eq!(
                from.ip(),
                asked,
                "{wildcard}: the answer left from elsewhere"
            );
        }
    }
}
