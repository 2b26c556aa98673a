//! Calls through rtpengine: both ends are ours, set up by its control protocol, with the same media as through our gateway.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use super::bencode::Value;
use super::ng::{NgClient, NgError};
use super::rtpengine::Rtpengine;
use super::sdp::{self, PROFILE, Told};
use crate::load::call::{self, CallClocks, CallFailure, CallNumber, Stage, Stopwatch};
use crate::load::drive::{self, Ended, NotPlaced, Parties, Placed};
use crate::load::judges::Standard;
use crate::load::media::{
    Direction, FrameClock, Leg, LegPlan, MediaThreads, Protection, SrtpMaster,
};
use crate::random_u64;

/// From the answer to the first packet at each end.
const MEDIA_WITHIN: Duration = Duration::from_secs(5);
/// The vendor's side.
const FROM_TAG: &str = "vendor";
/// The trunk's side.
const TO_TAG: &str = "trunk";

/// Both ends of all calls.
pub struct RtpengineCalls {
    control: std::net::SocketAddr,
    local_ip: IpAddr,
    standard: Standard,
    media: Arc<MediaThreads>,
    record: Duration,
    /// Apart from those of another run.
    call_id_prefix: u64,
}

/// A call that is up.
pub struct RtpengineCall {
    ng: NgClient,
    call_id: String,
    vendor: Leg,
    trunk: Leg,
}

/// A call between its offer and its answer.
struct Offered {
    ng: NgClient,
    call_id: String,
    vendor: End,
    trunk: End,
}

/// One end: its socket, and where rtpengine wants its packets.
struct End {
    socket: UdpSocket,
    protection: Protection,
    told: Told,
}

impl RtpengineCalls {
    /// Through this rtpengine; so much of each call is kept for the judge.
    pub fn new(
        rtpengine: &Rtpengine,
        local_ip: IpAddr,
        standard: &Standard,
        media: &Arc<MediaThreads>,
        record: Duration,
    ) -> Self {
        Self {
            control: rtpengine.control,
            local_ip,
            standard: standard.clone(),
            media: Arc::clone(media),
            record,
            call_id_prefix: random_u64(),
        }
    }

    async fn negotiate(&self, number: CallNumber) -> Result<Offered, NgError> {
        let ng = NgClient::connect(self.control).await?;
        let call_id = format!("{:016x}-{}", self.call_id_prefix, number.0);
        let (vendor, trunk) = (self.bind()?, self.bind()?);
        let (codec_a, codec_b) = (self.standard.codec_a, self.standard.codec_b);
        let master = new_master();

        let sdp = sdp::describe(codec_a, vendor.local_addr()?, Some(&master));
        let transcode = (codec_a != codec_b).then(|| codec_b.name());
        let answer = ng.command(&offer(&call_id, &sdp, transcode)).await?;
        let at_trunk = told("offer", &answer)?;
        let sdp = sdp::describe(codec_b, trunk.local_addr()?, None);
        let answer = ng.command(&answer_of(&call_id, &sdp)).await?;
        let at_vendor = told("answer", &answer)?;

        let remote = at_vendor.master.clone().ok_or(NgError::Missing {
            command: "answer",
            what: "SRTP key",
        })?;
        Ok(Offered {
            ng,
            call_id,
            vendor: End {
                socket: vendor,
                protection: Protection::Srtp {
                    profile: PROFILE,
                    local: master,
                    remote,
                },
                told: at_vendor,
            },
            trunk: End {
                socket: trunk,
                protection: Protection::Plain,
                told: at_trunk,
            },
        })
    }

    fn bind(&self) -> Result<UdpSocket, NgError> {
        Ok(UdpSocket::bind((self.local_ip, 0))?)
    }

    /// As through our gateway: reports on the vendor's side only.
    fn open(
        &self,
        end: End,
        direction: Direction,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<Leg, CallFailure> {
        let (clock, heard_clock) = match direction {
            Direction::AToB => (&clocks.vendor, &clocks.trunk),
            Direction::BToA => (&clocks.trunk, &clocks.vendor),
        };
        let frames = match (direction, &self.standard.said_by_trunk) {
            (Direction::BToA, Some(said_by_trunk)) => said_by_trunk,
            _ => &self.standard.said_by_vendor,
        };
        let payload_type = frames.codec().usual_payload_type();
        if !end.told.payload_types.contains(&payload_type) {
            let codec = frames.codec().name();
            return Err(failed(Stage::Negotiate, &format!("{codec} was not taken")));
        }
        let leg = self.media.open(LegPlan {
            socket: end.socket,
            remote: end.told.remote,
            protection: end.protection,
            consent: None,
            direction,
            frames: Arc::clone(frames),
            payload_type,
            phase,
            clock: Arc::clone(clock),
            heard_clock: Arc::clone(heard_clock),
            record: self.record,
            rtcp: direction == Direction::AToB,
        });
        leg.map_err(|error| failed(Stage::Answer, &error))
    }
}

impl Parties for RtpengineCalls {
    type Call = RtpengineCall;

    fn clocks(&self, number: CallNumber) -> CallClocks {
        let clock = || Arc::new(FrameClock::beginning_with(call::first_frame(number)));
        CallClocks {
            vendor: clock(),
            trunk: clock(),
        }
    }

    async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<Placed<RtpengineCall>, NotPlaced> {
        let not_placed = |failure| NotPlaced {
            failure,
            at_trunk: None,
        };
        let mut watch = Stopwatch::start();
        let offered = self
            .negotiate(number)
            .await
            .map_err(|error| not_placed(failed(Stage::Negotiate, &error)))?;
        watch.lap(Stage::Negotiate);
        let vendor = self
            .open(offered.vendor, Direction::AToB, phase, clocks)
            .map_err(not_placed)?;
        let trunk_phase = drive::opposite(phase);
        let trunk = self
            .open(offered.trunk, Direction::BToA, trunk_phase, clocks)
            .map_err(not_placed)?;
        let (mut at_vendor, mut at_trunk) = (vendor.first_packet(), trunk.first_packet());
        let both = async {
            tokio::join!(
                at_vendor.wait_for(Option::is_some),
                at_trunk.wait_for(Option::is_some)
            )
        };
        if let Ok((Ok(_), Ok(_))) = tokio::time::timeout(MEDIA_WITHIN, both).await {
            watch.lap(Stage::Answer);
            return Ok(Placed {
                call: RtpengineCall {
                    ng: offered.ng,
                    call_id: offered.call_id,
                    vendor,
                    trunk,
                },
                call_sid: None,
                setup: watch.times,
            });
        }
        let _ = offered.ng.command(&delete(&offered.call_id)).await;
        let waited = format!("no media both ways within {} s", MEDIA_WITHIN.as_secs());
        Err(not_placed(failed(Stage::Answer, &waited)))
    }

    /// Without media it would after its `--timeout`, which is longer than a call lacks media here.
    async fn ended_by_gateway(_: &mut RtpengineCall) -> CallFailure {
        std::future::pending().await
    }

    async fn hang_up(&self, _: CallNumber, call: RtpengineCall, say_so: bool) -> Ended {
        let failure = if say_so {
            let deleted = call.ng.command(&delete(&call.call_id)).await;
            deleted.err().map(|error| CallFailure {
                stage: None,
                reason: error.to_string(),
            })
        } else {
            None
        };
        let (vendor, trunk) = (call.vendor.close_later(), call.trunk.close_later());
        Ended {
            at_vendor: vendor.await.ok(),
            at_trunk: trunk.await.ok(),
            failure,
        }
    }
}

fn new_master() -> SrtpMaster {
    let random = |len: usize| {
        let mut bytes = vec![0; len];
        // Without entropy the key is a bad one, and the cost the same.
        let _ = getrandom::fill(&mut bytes);
        bytes
    };
    SrtpMaster {
        key: random(PROFILE.key_len()),
        salt: random(PROFILE.salt_len()),
    }
}

fn offer(call_id: &str, sdp: &str, transcode: Option<&str>) -> Value {
    // What the trunk is offered besides, so that its answer makes rtpengine transcode.
    let codecs: Vec<&str> = transcode.into_iter().collect();
    Value::dictionary([
        ("command", Value::text("offer")),
        ("call-id", Value::text(call_id)),
        ("from-tag", Value::text(FROM_TAG)),
        ("sdp", Value::text(sdp)),
        ("ICE", Value::text("remove")),
        ("DTLS", Value::text("off")),
        ("transport-protocol", Value::text("RTP/AVP")),
        ("rtcp-mux", Value::texts(&["demux"])),
        (
            "codec",
            Value::dictionary([("transcode", Value::texts(&codecs))]),
        ),
    ])
}

fn answer_of(call_id: &str, sdp: &str) -> Value {
    Value::dictionary([
        ("command", Value::text("answer")),
        ("call-id", Value::text(call_id)),
        ("from-tag", Value::text(FROM_TAG)),
        ("to-tag", Value::text(TO_TAG)),
        ("sdp", Value::text(sdp)),
        ("ICE", Value::text("remove")),
    ])
}

fn delete(call_id: &str) -> Value {
    Value::dictionary([
        ("command", Value::text("delete")),
        ("call-id", Value::text(call_id)),
        ("from-tag", Value::text(FROM_TAG)),
    ])
}

fn told(command: &'static str, answer: &Value) -> Result<Told, NgError> {
    let sdp = answer.get("sdp").and_then(Value::as_text);
    sdp.and_then(Told::parse).ok_or(NgError::Missing {
        command,
        what: "SDP that can be used",
    })
}

fn failed(stage: Stage, reason: &dyn std::fmt::Display) -> CallFailure {
    CallFailure {
        stage: Some(stage),
        reason: reason.to_string(),
    }
}
