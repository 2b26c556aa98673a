//! The end of an executor gives every file descriptor of ours back. One test in its own process, so that nobody else's count.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use shards::ShardIndex;
use shards::doorbell::{Doorbell, DoorbellListener};
use shards::executor::{ExecutorSettings, available_cores, sleep, spawn, task};
use shards::listener::Listener;
use shards::udp::{SocketSet, UdpSocket};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// An executor whose tasks all wait on something when its main future ends, or panics.
fn live_and_end(panics: bool) {
    let settings = ExecutorSettings {
        core: available_cores().unwrap()[0],
        preempt_timer: Duration::from_millis(1),
        name: "shard-test".to_owned(),
    };
    let localhost = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let executor = spawn(ShardIndex(0), settings, move || async move {
        for _ in 0..5 {
            let doorbell = Doorbell::new().unwrap();
            let mut bell = DoorbellListener::new(doorbell).unwrap();
            task("asleep", async move { bell.wait().await.unwrap() }, |_| ());
            let socket = UdpSocket::bind(localhost, 0, 0).unwrap();
            task(
                "idle socket",
                async move { socket.readable().await.unwrap() },
                |_| (),
            );
            let mut listener = Listener::bind(localhost, 16).unwrap();
            let addr = listener.local_addr();
            task(
                "listening",
                async move {
                    let (_stream, _) = listener.accept().await.unwrap();
                    listener.accept().await.unwrap();
                },
                |_| (),
            );
            let stream = glommio::net::TcpStream::connect(addr).await.unwrap();
            task(
                "reading",
                async move {
                    let mut stream = stream;
                    futures_lite::AsyncReadExt::read(&mut stream, &mut [0; 8])
                        .await
                        .unwrap();
                },
                |_| (),
            );
        }
        let mut set = SocketSet::new().unwrap();
        let socket = UdpSocket::bind(localhost, 0, 0).unwrap();
        set.insert(1, &socket).unwrap();
        // The doorbell of the main future itself.
        let mut bell = DoorbellListener::new(Doorbell::new().unwrap()).unwrap();
        futures_lite::future::or(
            async { bell.wait().await.unwrap() },
            sleep(Duration::from_millis(5)),
        )
        .await;
        assert!(!panics, "as a broken tick would");
    })
    .unwrap();
    assert_eq!(executor.join().is_err(), panics);
}

#[test]
fn executors_leave_no_descriptor_behind() {
    // The first one opens what the process keeps.
    live_and_end(false);
    let before = open_descriptors();
    for round in 0..10 {
        live_and_end(round % 2 == 1);
    }
    // glommio 0.9.0 itself keeps one eventfd of every executor that ever ran, also of an empty one.
    assert_eq!(open_descriptors(), before + 10);
}
