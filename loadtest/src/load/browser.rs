//! The browser's side of many calls: the browser dialect over a TLS WebSocket, and a light WebRTC client.
//!
//! One task per call on the caller's own thread; media is handed to the media threads once the keys are there.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use server::call::EventType;
use tungstenite::Message;

use super::call::{
    CallClocks, CallFailure, CallNumber, Stage, StageTimes, Stopwatch, closed_with, failed,
    failed_at, within,
};
use super::impaired::Impairment;
use super::media::{Consent, Direction, EncodedSpeech, Leg, LegPlan, LegRecord, MediaThreads};
use super::signalling::{Endpoint, Socket};
use super::token::TokenSigner;
use super::webrtc::{Client, Identity, RemoteAnswer};
use crate::impairment::ImpairmentRelay;
use crate::media::AudioCodec;
use crate::signalling::{ClientMessage, ServerMessage};

/// The dialect's subprotocol.
const SUBPROTOCOL: &str = "clutchcall.v1";
/// From `hangup` to the gateway's `bye`.
const BYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes calls as browsers do.
pub struct BrowserCaller {
    /// The gateway.
    pub endpoint: Endpoint,
    /// Signs a token for each call.
    pub tokens: TokenSigner,
    /// In the path.
    pub tenant: String,
    /// Of all clients.
    pub identity: Arc<Identity>,
    /// Where media sockets are bound.
    pub local_ip: IpAddr,
    /// The only one that is offered.
    pub codec: AudioCodec,
    /// Said over and over.
    pub speech: Arc<EncodedSpeech>,
    /// Over which trunk; none: the tenant's route.
    pub trunk_id: Option<String>,
    /// Where calls go; the call's number follows.
    pub number_prefix: String,
    /// Who sends and receives.
    pub media: Arc<MediaThreads>,
    /// So much of each call is kept for the judge.
    pub record: Duration,
    /// What is done to its media.
    pub impairment: Option<Impairment>,
    /// Of the impairments' dice; the call's number is added.
    pub seed: u64,
}

/// A call that is up.
pub struct BrowserCall {
    socket: Socket,
    leg: Leg,
    /// Its media goes through it.
    _relay: Option<ImpairmentRelay>,
    /// The gateway's name of it.
    pub call_sid: String,
    /// Its set-up.
    pub setup: StageTimes,
}

impl BrowserCaller {
    /// Makes the call `number`, up to its answer. What the gateway plays by then is heard already.
    ///
    /// # Errors
    /// [`CallFailure`] names the step.
    pub async fn place(
        &self,
        number: CallNumber,
        phase: u8,
        clocks: &CallClocks,
    ) -> Result<BrowserCall, CallFailure> {
        let mut watch = Stopwatch::start();
        let mut socket = self.sign_on(number, &mut watch).await?;
        let (client, answer, relay) = self.negotiate(&mut socket, number).await?;
        watch.lap(Stage::Negotiate);
        let leg = self
            .open_media(client, answer, phase, clocks, &mut watch)
            .await?;
        let call_sid = self.dial(&mut socket, number).await?;
        watch.lap(Stage::Answer);
        Ok(BrowserCall {
            socket,
            leg,
            _relay: relay,
            call_sid,
            setup: watch.times,
        })
    }

    async fn sign_on(
        &self,
        number: CallNumber,
        watch: &mut Stopwatch,
    ) -> Result<Socket, CallFailure> {
        let token = self
            .tokens
            .token(&format!("load-{}", number.0))
            .map_err(|error| failed(Stage::Connect, &error))?;
        let path = format!("/signal/browser/{}", self.tenant);
        let subprotocols = [SUBPROTOCOL.to_owned(), format!("bearer.{token}")];
        let open = within(Stage::Connect, self.endpoint.open(&path, &subprotocols)).await?;
        let mut socket = open.map_err(|error| failed(Stage::Connect, &error))?;
        watch.lap(Stage::Connect);
        next_that(&mut socket, Stage::SignOn, |message| {
            matches!(message, ServerMessage::Session { .. }).then_some(())
        })
        .await?;
        watch.lap(Stage::SignOn);
        Ok(socket)
    }

    /// From the offer to the answer, and the bad network where there is to be one.
    async fn negotiate(
        &self,
        socket: &mut Socket,
        number: CallNumber,
    ) -> Result<(Client, RemoteAnswer, Option<ImpairmentRelay>), CallFailure> {
        let client = Client::bind(Arc::clone(&self.identity), self.local_ip, self.codec)
            .await
            .map_err(|error| failed(Stage::Negotiate, &error))?;
        let offer = ClientMessage::Offer {
            sdp: client.offer(),
        };
        say(socket, Stage::Negotiate, &offer).await?;
        let sdp = next_that(socket, Stage::Negotiate, |message| match message {
            ServerMessage::Answer { sdp } => Some(sdp),
            _ => None,
        })
        .await?;
        let mut answer = RemoteAnswer::parse(&sdp, self.codec)
            .map_err(|error| failed(Stage::Negotiate, &error))?;
        let relay = match &self.impairment {
            Some(impairment) => {
                let seed = self.seed + u64::from(number.0);
                let relay = impairment.relay(&mut answer, seed);
                Some(relay.map_err(|error| failed(Stage::Negotiate, &error))?)
            }
            None => None,
        };
        Ok((client, answer, relay))
    }

    /// ICE, DTLS, and the leg.
    async fn open_media(
        &self,
        client: Client,
        answer: RemoteAnswer,
        phase: u8,
        clocks: &CallClocks,
        watch: &mut Stopwatch,
    ) -> Result<Leg, CallFailure> {
        let connected = client
            .connect(&answer)
            .await
            .map_err(|error| failed(Stage::Dtls, &error))?;
        watch.add(Stage::Ice, connected.ice);
        watch.add(Stage::Dtls, connected.dtls);
        let credentials = client.credentials().clone();
        let media_socket = client
            .into_socket()
            .map_err(|error| failed(Stage::Dtls, &error))?;
        let leg = self.media.open(LegPlan {
            socket: media_socket,
            remote: connected.remote,
            protection: connected.protection,
            consent: Some(Consent {
                local_ufrag: credentials.ufrag,
                remote_ufrag: answer.credentials.ufrag,
                remote_password: answer.credentials.pass,
                tie_breaker: crate::random_u64(),
            }),
            direction: Direction::AToB,
            frames: Arc::clone(&self.speech),
            payload_type: answer.payload_type,
            phase,
            clock: Arc::clone(&clocks.vendor),
            heard_clock: Arc::clone(&clocks.trunk),
            record: self.record,
            rtcp: true,
        });
        leg.map_err(|error| failed(Stage::Dtls, &error))
    }

    /// The gateway's name of the call.
    async fn dial(&self, socket: &mut Socket, number: CallNumber) -> Result<String, CallFailure> {
        let dial = ClientMessage::Dial {
            to: format!("{}{:07}", self.number_prefix, number.0),
            trunk_id: self.trunk_id.clone(),
            call_from: None,
            client_id: None,
        };
        say(socket, Stage::Answer, &dial).await?;
        next_that(socket, Stage::Answer, |message| match message {
            ServerMessage::Event(event) if event.event_type == EventType::ChannelAnswer => {
                Some(event.call_sid.to_string())
            }
            _ => None,
        })
        .await
    }
}

impl BrowserCall {
    /// Waits until the gateway ends the call by itself. Safe to drop at any time.
    pub async fn ended_by_gateway(&mut self) -> CallFailure {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => match parse(None, text.as_str()) {
                    Ok(ServerMessage::Bye { q850_cause, reason }) => {
                        return CallFailure {
                            stage: None,
                            reason: format!("ended with cause {q850_cause}: {reason}"),
                        };
                    }
                    Ok(_) => {}
                    Err(failure) => return failure,
                },
                Some(Ok(Message::Close(frame))) => return closed(None, frame),
                Some(Ok(_)) => {}
                Some(Err(error)) => return failed_at(None, &error),
                None => return failed_at(None, &"the socket ended"),
            }
        }
    }

    /// Hangs up, unless the gateway has; what was heard, if the media thread still tells.
    pub async fn hang_up(mut self, say_so: bool) -> (Option<LegRecord>, Option<CallFailure>) {
        let failure = if say_so {
            self.say_goodbye().await.err()
        } else {
            None
        };
        (self.leg.close_later().await.ok(), failure)
    }

    async fn say_goodbye(&mut self) -> Result<(), CallFailure> {
        let text = serde_json::to_string(&ClientMessage::Hangup).unwrap_or_default();
        let hang_up = self.socket.send(Message::text(text));
        hang_up.await.map_err(|error| failed_at(None, &error))?;
        let bye = async {
            while let Some(Ok(message)) = self.socket.next().await {
                if let Message::Text(text) = message
                    && let Ok(ServerMessage::Bye { .. }) = parse(None, text.as_str())
                {
                    return true;
                }
            }
            false
        };
        let came = tokio::time::timeout(BYE_TIMEOUT, bye)
            .await
            .unwrap_or(false);
        // The page goes away; nobody waits for its close.
        let _ = tokio::time::timeout(BYE_TIMEOUT, self.socket.close(None)).await;
        if came {
            Ok(())
        } else {
            Err(failed_at(None, &"no bye to our hang-up"))
        }
    }
}

async fn say(
    socket: &mut Socket,
    stage: Stage,
    message: &ClientMessage,
) -> Result<(), CallFailure> {
    // Messages are maps of texts and numbers: they always become JSON.
    let text = serde_json::to_string(message).unwrap_or_default();
    socket
        .send(Message::text(text))
        .await
        .map_err(|error| failed(stage, &error))
}

/// The first message that `pick` takes; a refusal ends the wait.
async fn next_that<T>(
    socket: &mut Socket,
    stage: Stage,
    mut pick: impl FnMut(ServerMessage) -> Option<T>,
) -> Result<T, CallFailure> {
    let wait = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => match parse(Some(stage), text.as_str())? {
                    ServerMessage::Error {
                        code,
                        message,
                        fault,
                    } => {
                        return Err(CallFailure {
                            stage: Some(stage),
                            reason: format!("{message} ({code}, fault {fault})"),
                        });
                    }
                    ServerMessage::Bye { q850_cause, reason } => {
                        return Err(CallFailure {
                            stage: Some(stage),
                            reason: format!("cause {q850_cause}: {reason}"),
                        });
                    }
                    message => {
                        if let Some(found) = pick(message) {
                            return Ok(found);
                        }
                    }
                },
                Some(Ok(Message::Close(frame))) => return Err(closed(Some(stage), frame)),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failed(stage, &error)),
                None => return Err(failed(stage, &"the socket ended")),
            }
        }
    };
    within(stage, wait).await?
}

fn parse(stage: Option<Stage>, text: &str) -> Result<ServerMessage, CallFailure> {
    serde_json::from_str(text)
        .map_err(|error| failed_at(stage, &format!("unreadable message: {error}")))
}

fn closed(stage: Option<Stage>, frame: Option<tungstenite::protocol::CloseFrame>) -> CallFailure {
    let (code, reason) = frame.map_or((1005, String::new()), |frame| {
        (u16::from(frame.code), frame.reason.to_string())
    });
    closed_with(stage, code, &reason)
}
