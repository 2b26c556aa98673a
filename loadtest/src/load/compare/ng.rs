//! rtpengine's control protocol (ng) over UDP: a command with a cookie, and the answer with the same one.
//!
//! A socket for each call. A command that got no answer is sent again with its cookie, for which rtpengine repeats its answer.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UdpSocket;

use super::bencode::{BencodeError, Value};
use crate::random_u64;

/// The longest answer.
const ANSWER_BYTES_MAX: usize = 65_535;
/// A command is repeated after so long.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
/// And so many times in all.
const TRIES_MAX: u32 = 10;

/// Why a command was not carried out.
#[derive(Debug, Error)]
pub enum NgError {
    /// The socket.
    #[error("ng: {0}")]
    Io(#[from] std::io::Error),
    /// No answer to any try.
    #[error("ng: no answer to {0}")]
    NoAnswer(String),
    /// The answer can't be read.
    #[error("ng: the answer can't be read: {0}")]
    Unreadable(#[from] BencodeError),
    /// rtpengine refused.
    #[error("rtpengine refuses {command}: {reason}")]
    Refused {
        /// What was asked.
        command: String,
        /// Its own words.
        reason: String,
    },
    /// Something that the answer should have.
    #[error("rtpengine's answer to {command} has no {what}")]
    Missing {
        /// What was asked.
        command: &'static str,
        /// What it should have.
        what: &'static str,
    },
}

/// Gives commands to one rtpengine.
pub struct NgClient {
    socket: UdpSocket,
}

impl NgClient {
    /// A socket to the rtpengine at this address.
    ///
    /// # Errors
    /// [`NgError::Io`].
    pub async fn connect(address: SocketAddr) -> Result<Self, NgError> {
        let socket = UdpSocket::bind((address.ip(), 0)).await?;
        socket.connect(address).await?;
        Ok(Self { socket })
    }

    /// Gives a command; its answer, when its result is `ok` or `pong`.
    ///
    /// # Errors
    /// [`NgError`].
    pub async fn command(&self, command: &Value) -> Result<Value, NgError> {
        let name = command
            .get("command")
            .and_then(Value::as_text)
            .unwrap_or("?")
            .to_owned();
        let cookie = format!("{:016x}", random_u64());
        let message = message(&cookie, command);
        for _ in 0..TRIES_MAX {
            // A refused datagram is one that was lost: rtpengine may not listen yet.
            let _ = self.socket.send(&message).await;
            let answer = tokio::time::timeout(REPEAT_AFTER, self.answer_to(&cookie)).await;
            if let Ok(answer) = answer {
                return succeeded(name, answer?);
            }
        }
        Err(NgError::NoAnswer(name))
    }

    async fn answer_to(&self, cookie: &str) -> Result<Value, NgError> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        loop {
            let Ok(len) = self.socket.recv(&mut buffer).await else {
                // Nobody listens there; the next try may find somebody.
                std::future::pending::<()>().await;
                continue;
            };
            let datagram = buffer.get(..len).unwrap_or_default();
            if let Some(body) = body_of(datagram, cookie) {
                return Ok(Value::parse(body)?);
            }
        }
    }
}

fn message(cookie: &str, command: &Value) -> Vec<u8> {
    let mut message = format!("{cookie} ").into_bytes();
    command.write(&mut message);
    message
}

/// What follows the cookie; none when it is another one, of a command that was given up.
fn body_of<'a>(datagram: &'a [u8], cookie: &str) -> Option<&'a [u8]> {
    datagram.strip_prefix(cookie.as_bytes())?.strip_prefix(b" ")
}

fn succeeded(command: String, answer: Value) -> Result<Value, NgError> {
    let text = |key: &str| answer.get(key).and_then(Value::as_text);
    match text("result") {
        Some("ok" | "pong") => Ok(answer),
        result => {
            let reason = text("error-reason").or(result).unwrap_or("no result");
            Err(NgError::Refused {
                command,
                reason: reason.to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn cookies_tell_answers_apart() {
        let ping = Value::dictionary([("command", Value::text("ping"))]);
        assert_eq!(message("c1", &ping), b"c1 d7:command4:pinge");
        assert_eq!(
            body_of(b"c1 d6:result4:ponge", "c1"),
            Some(&b"d6:result4:ponge"[..])
        );
        assert_eq!(body_of(b"c11 d6:result4:ponge", "c1"), None);
        assert_eq!(body_of(b"c2 d6:result4:ponge", "c1"), None);
        assert_eq!(body_of(b"", "c1"), None);
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        let result = |text: &str| {
            let answer = Value::parse(text.as_bytes()).unwrap();
            succeeded("offer".to_owned(), answer).map_err(|error| error.to_string())
        };
        assert!(result("d6:result2:oke").is_ok());
        let refused = result("d6:result5:error12:error-reason8:No callse");
        assert_eq!(refused, Err("rtpengine refuses offer: No calls".to_owned()));
        assert!(result("de").is_err());
    }

    #[test]
    fn a_command_is_repeated_until_it_is_answered() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let engine = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let client = NgClient::connect(engine.local_addr().unwrap())
                .await
                .unwrap();
            let ping = Value::dictionary([("command", Value::text("ping"))]);
            let serve = async {
                let mut buffer = [0; 100];
                let (len, _) = engine.recv_from(&mut buffer).await.unwrap();
                let first = buffer[..len].to_vec();
                let (len, remote) = engine.recv_from(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..len], first, "the same cookie");
                engine.send_to(b"other de", remote).await.unwrap();
                let mut answer = first[..17].to_vec();
                answer.extend_from_slice(b"d6:result4:ponge");
                engine.send_to(&answer, remote).await.unwrap();
            };
            let (answer, ()) = tokio::join!(client.command(&ping), serve);
            assert_eq!(answer.unwrap().get("result"), Some(&Value::text("pong")));
        });
    }
}
