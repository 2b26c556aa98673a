//! Hosts to addresses, as RFC 3263 says: SRV records where no port is named, then A and AAAA.
//!
//! `rsipstack` asks; here are what it leaves open: an end to waiting, and a memory, so that a call does not wait for the
//! name server, nor fail with it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rsipstack::resolver::SipResolver as Records;
use rsipstack::sip::{Domain, Port, Transport};
use thiserror::Error;

use super::lock;
use crate::config::SipTransport;

/// How long an answer counts. Records have lifetimes of their own, which rsipstack does not tell.
const LIFETIME: Duration = Duration::from_secs(60);
/// How long it counts when nobody answers any more.
const STALE_LIFETIME: Duration = Duration::from_secs(3600);
/// How long nobody is asked again after a question without an answer.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);
/// Hosts that are remembered.
const HOSTS_MAX: usize = 1024;
/// The longest wait for an answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);
/// Addresses of one host that are tried at most.
const ADDRESSES_MAX: usize = 16;

/// A host that has no address, or nobody who knows it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{host}: {reason}")]
pub struct ResolveError {
    /// As asked for.
    pub host: String,
    /// What the name servers said, or did not.
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    host: String,
    port: Option<u16>,
    transport: SipTransport,
}

#[derive(Debug, Clone)]
struct Answer {
    addresses: Result<Vec<SocketAddr>, String>,
    at: Instant,
    asked_at: Instant,
}

type Asking = Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, String>> + Send>>;
type Ask = Box<dyn Fn(Question) -> Asking + Send + Sync>;

/// Names to addresses, with a memory.
pub struct SipResolver {
    ask: Ask,
    answers: Mutex<HashMap<Question, Answer>>,
}

impl SipResolver {
    /// Asks the name servers of these addresses at port 53; none: those of the system. In a tokio runtime only.
    pub fn new(nameservers: Vec<IpAddr>) -> Self {
        let records = if nameservers.is_empty() {
            Records::new()
        } else {
            Records::with_nameservers(nameservers)
        };
        Self::asking(Box::new(move |question| {
            let records = records.clone();
            Box::pin(async move { lookup(&records, question).await })
        }))
    }

    fn asking(ask: Ask) -> Self {
        Self {
            ask,
            answers: Mutex::default(),
        }
    }

    /// The addresses of a host, best first. `port`: none asks for SRV records, then takes the transport's own port.
    ///
    /// # Errors
    /// There is none, or nobody knows.
    pub async fn resolve(
        &self,
        host: &str,
        port: Option<u16>,
        transport: SipTransport,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(ip) = host.parse() {
            let port = port.unwrap_or(transport.default_port());
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let question = Question {
            host: host.to_owned(),
            port,
            transport,
        };
        let answer = match self.remembered(&question, Instant::now()) {
            Some(answer) => answer,
            None => {
                let asked = tokio::time::timeout(LOOKUP_TIMEOUT, (self.ask)(question.clone()));
                let addresses = asked
                    .await
                    .unwrap_or_else(|_| Err("no name server answers".to_owned()));
                self.remember(question, addresses, Instant::now())
            }
        };
        answer.map_err(|reason| ResolveError {
            host: host.to_owned(),
            reason,
        })
    }

    fn remembered(
        &self,
        question: &Question,
        now: Instant,
    ) -> Option<Result<Vec<SocketAddr>, String>> {
        let answers = lock(&self.answers);
        let answer = answers.get(question)?;
        let lifetime = match &answer.addresses {
            Ok(_) if answer.at == answer.asked_at => LIFETIME,
            _ => FAILURE_LIFETIME,
        };
        (now.saturating_duration_since(answer.asked_at) < lifetime)
            .then(|| answer.addresses.clone())
    }

    /// Keeps an answer; a failure does not replace addresses that may still be good.
    fn remember(
        &self,
        question: Question,
        addresses: Result<Vec<SocketAddr>, String>,
        now: Instant,
    ) -> Result<Vec<SocketAddr>, String> {
        let mut answers = lock(&self.answers);
        if let (Err(reason), Some(before)) = (&addresses, answers.get_mut(&question))
            && before.addresses.is_ok()
            && now.saturating_duration_since(before.at) < STALE_LIFETIME
        {
            tracing::warn!(host = question.host, reason, "old addresses are used");
            before.asked_at = now;
            return before.addresses.clone();
        }
        if answers.len() >= HOSTS_MAX && !answers.contains_key(&question) {
            let oldest = answers.iter().min_by_key(|(_, answer)| answer.asked_at);
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                answers.remove(&oldest);
            }
        }
        let answer = Answer {
            addresses: addresses.clone(),
            at: now,
            asked_at: now,
        };
        answers.insert(question, answer);
        addresses
    }
}

impl fmt::Debug for SipResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipResolver").finish_non_exhaustive()
    }
}

async fn lookup(records: &Records, question: Question) -> Result<Vec<SocketAddr>, String> {
    let transport = match question.transport {
        SipTransport::Udp => Transport::Udp,
        SipTransport::Tcp => Transport::Tcp,
        SipTransport::Tls => Transport::Tls,
    };
    let secure = question.transport == SipTransport::Tls;
    let targets = records
        .lookup(
            &Domain::from(question.host.as_str()),
            question.port.map(Port::from),
            Some(transport),
            secure,
        )
        .await?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in targets.into_iter().map(|target| target.addr) {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Replies = Arc<Mutex<Vec<Result<Vec<SocketAddr>, String>>>>;

    /// A resolver that gets these answers, last first.
    fn resolver(replies: &Replies) -> SipResolver {
        let replies = Arc::clone(replies);
        SipResolver::asking(Box::new(move |_| {
            let reply = lock(&replies).pop().unwrap();
            Box::pin(async move { reply })
        }))
    }

    fn question(host: &str) -> Question {
        Question {
            host: host.to_owned(),
            port: None,
            transport: SipTransport::Udp,
        }
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 5060))
    }

    #[tokio::test]
    async fn addresses_are_their_own_answer() {
        let resolver = resolver(&Replies::default());
        let resolve = async |host, port, transport| resolver.resolve(host, port, transport).await;
        assert_eq!(
            resolve("192.0.2.1", None, SipTransport::Udp).await,
            Ok(vec![address(1)])
        );
        assert_eq!(
            resolve("::1", None, SipTransport::Tls).await,
            Ok(vec!["[::1]:5061".parse().unwrap()])
        );
        assert_eq!(
            resolve("::1", Some(5070), SipTransport::Tcp).await,
            Ok(vec!["[::1]:5070".parse().unwrap()])
        );
    }

    #[tokio::test]
    async fn an_answer_is_remembered_and_outlives_its_name_server() {
        let replies: Replies = Arc::new(Mutex::new(vec![Ok(vec![address(1)])]));
        let resolver = resolver(&replies);
        for _ in 0..3 {
            let resolved = resolver.resolve("a.example", None, SipTransport::Udp).await;
            assert_eq!(resolved, Ok(vec![address(1)]));
        }
        let question = question("a.example");
        let later = Instant::now() + LIFETIME;
        assert_eq!(resolver.remembered(&question, later), None);
        let failed = resolver.remember(question.clone(), Err("down".to_owned()), later);
        assert_eq!(failed, Ok(vec![address(1)]));
        assert_eq!(
            resolver.remembered(&question, later + Duration::from_secs(1)),
            Some(Ok(vec![address(1)]))
        );
        assert_eq!(
            resolver.remembered(&question, later + FAILURE_LIFETIME),
            None,
            "it is asked again soon"
        );
        let hour_later = later + STALE_LIFETIME;
        let failed = resolver.remember(question, Err("down".to_owned()), hour_later);
        assert_eq!(failed, Err("down".to_owned()));
    }

    #[tokio::test]
    async fn a_failure_is_told_with_the_host() {
        let replies: Replies = Arc::new(Mutex::new(vec![Err("NXDOMAIN".to_owned())]));
        let resolver = resolver(&replies);
        for _ in 0..2 {
            let error = resolver
                .resolve("a.example", Some(1), SipTransport::Udp)
                .await
                .unwrap_err();
            assert_eq!(error.to_string(), "a.example: NXDOMAIN");
        }
    }

    #[test]
    fn the_memory_is_bounded() {
        let resolver = resolver(&Replies::default());
        let start = Instant::now();
        for n in 0..HOSTS_MAX as u32 + 10 {
            let at = start + Duration::from_millis(n.into());
            let _ = resolver.remember(question(&n.to_string()), Ok(Vec::new()), at);
        }
        assert_eq!(lock(&resolver.answers).len(), HOSTS_MAX);
        assert!(resolver.remembered(&question("0"), start).is_none());
    }

    /// As this machine resolves it: `/etc/hosts`.
    #[tokio::test]
    async fn the_name_of_this_host_is_found() {
        let resolver = SipResolver::new(Vec::new());
        let addresses = resolver
            .resolve("localhost", Some(5070), SipTransport::Udp)
            .await
            .unwrap();
        assert!(
            addresses
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 5070),
            "{addresses:?}"
        );
    }
}
