//! The gateway's own executor, one socket for all calls as the WebRTC port is: its tick against waking at every packet.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures_lite::future::or;
use shards::ShardIndex;
use shards::executor::{ExecutorSettings, sleep, spawn};
use shards::tick::Tick;
use shards::udp::{ReceiveBatch, SendBatch, UdpSocket};

use crate::design::{Conditions, Measured, Meter, Waking, against_traffic};

/// Runs the WebRTC port's way of moving datagrams on a shard.
pub fn run(conditions: Conditions) -> Option<Measured> {
    against_traffic(conditions, move |tell, run| {
        let settings = ExecutorSettings {
            core: 0,
            preempt_timer: Duration::from_micros(500),
            name: "shard-bench".to_owned(),
        };
        let executor = spawn(ShardIndex(0), settings, move || async move {
            let any = (Ipv6Addr::UNSPECIFIED, 0).into();
            let socket = UdpSocket::bind(any, 8 << 20, 4 << 20).ok()?;
            tell.send(vec![
                (Ipv4Addr::LOCALHOST, socket.local_addr().port()).into(),
            ])
            .ok()?;
            let mut received = ReceiveBatch::new(64, 1500);
            let mut answers = SendBatch::new(64, 1500);
            let mut meter = Meter::new();
            let mut tick = Tick::new(Duration::from_millis(1));
            loop {
                if let Some(measured) = meter.look(&run, conditions.calls) {
                    return Some(measured);
                }
                match conditions.waking {
                    Waking::Tick => {
                        tick.next().await;
                    }
                    Waking::Packet => {
                        or(
                            async {
                                let _ = socket.readable().await;
                            },
                            sleep(Duration::from_millis(50)),
                        )
                        .await;
                    }
                }
                while let Ok(count @ 1..) = socket.receive(&mut received) {
                    for packet in received.packets_mut() {
                        let _ = answers.push(packet.from, packet.bytes);
                    }
                    socket.send(&mut answers);
                    for packet in received.packets_mut() {
                        meter.ages().add_now(packet.bytes);
                    }
                    if count < 64 {
                        break;
                    }
                }
            }
        });
        executor.ok()?.join().ok()?
    })
}
