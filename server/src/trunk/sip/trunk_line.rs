//! One trunk as the agent sees it: where it is, whether it answers (OPTIONS), whether we are registered (RFC 3261 section
//! 10), whether calls over it keep failing (circuit breaker).
//!
//! Pure: it says which request is due; the agent sends it and brings the answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::digest::DigestClient;
use super::flow::Flow;
use super::message::value::NameAddr;
use super::message::{HeaderName, Method, Request, Response, value};
use super::tokens::Tokens;
use super::transaction::ClientId;
use crate::config::{SipTransport, SipTrunkConfig, TrunkConfig};

/// Targets of one trunk that are kept.
pub const TARGETS_MAX: usize = 16;
/// Names are looked up again after this.
const RESOLVE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// After a failed lookup.
const RESOLVE_RETRY_AFTER: Duration = Duration::from_secs(5);
/// An OPTIONS without an answer for so long has failed.
const OPTIONS_WITHIN: Duration = Duration::from_secs(4);
/// Failures in a row that make a trunk down.
const OPTIONS_FAILURES_MAX: u32 = 2;
/// After a failure the next OPTIONS comes sooner.
const OPTIONS_RETRY_AFTER: Duration = Duration::from_secs(1);
/// A registration that failed is tried again after this, doubling up to the second.
const REGISTER_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Longer times (423) that one registration is sent again for.
const INTERVALS_MAX: u8 = 3;
const REGISTER_RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Where a trunk is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its address.
    pub remote: SocketAddr,
    /// Our address on the way there.
    pub local_ip: IpAddr,
    /// Whose certificate it must show.
    pub server_name: Option<Arc<str>>,
    /// Which of the hosts that were asked for it is.
    pub host: usize,
}

/// Whether calls may go over a trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrunkHealth {
    /// They may.
    Up,
    /// They would come to nothing; why.
    Down(String),
    /// Too many failed one after the other: none is tried for a while.
    BreakerOpen,
}

/// One trunk.
#[derive(Debug)]
pub(super) struct TrunkLine {
    pub(super) trunk: Arc<TrunkConfig>,
    pub(super) sip: Arc<SipTrunkConfig>,
    targets: Vec<Target>,
    /// Which of the targets OPTIONS and REGISTER go to: the first, until it fails.
    asked: usize,
    resolving: bool,
    resolve_at: Option<Instant>,
    resolve_error: Option<String>,
    options: Options,
    registration: Registration,
    breaker: Breaker,
    /// Why our listening address is not open.
    listen_error: Option<String>,
    told: TrunkHealth,
}

#[derive(Debug, Default)]
struct Options {
    next_at: Option<Instant>,
    waits: Option<(ClientId, Instant)>,
    failures: u32,
    down: Option<String>,
}

#[derive(Debug)]
struct Registration {
    state: RegistrationState,
    call_id: String,
    tag: String,
    cseq: u32,
    expires_s: u32,
    digest: DigestClient,
    waits: Option<(ClientId, Request)>,
    /// Longer times that the registrar asked for (423) in this attempt.
    intervals: u8,
    retry_after: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum RegistrationState {
    /// Not wanted.
    Off,
    /// To be sent (again) then; why we are not registered now, if we are not.
    Due(Instant, Option<String>),
    /// Sent; whether an older registration still holds.
    Waits(bool),
    /// Given back.
    Ended,
}

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
    /// The next failure opens it at once.
    tries: bool,
}

/// A request that is due.
pub(super) struct DueRequest {
    pub(super) request: Request,
    pub(super) flow: Flow,
    pub(super) is_register: bool,
}

impl TrunkLine {
    pub(super) fn new(
        now: Instant,
        trunk: Arc<TrunkConfig>,
        sip: Arc<SipTrunkConfig>,
        tokens: &mut Tokens,
    ) -> Self {
        let registration = Registration {
            state: if sip.require_registration {
                RegistrationState::Due(now, Some("REGISTER was not sent yet".into()))
            } else {
                RegistrationState::Off
            },
            call_id: tokens.call_id(),
            tag: tokens.tag(),
            cseq: 0,
            expires_s: sip.register_expires_s,
            digest: DigestClient::default(),
            waits: None,
            intervals: 0,
            retry_after: REGISTER_RETRY_AFTER,
        };
        let options = Options {
            next_at: (sip.options_interval_s > 0).then_some(now),
            ..Options::default()
        };
        Self {
            trunk,
            sip,
            targets: Vec::new(),
            asked: 0,
            resolving: false,
            resolve_at: Some(now),
            resolve_error: None,
            options,
            registration,
            breaker: Breaker::default(),
            listen_error: None,
            told: TrunkHealth::Up,
        }
    }

    /// It takes the place of `before`: what was told of that one has to be taken back.
    pub(super) fn succeed(&mut self, before: &Self) {
        self.told = before.told.clone();
        if before.listen() == self.listen() && before.sip.transport == self.sip.transport {
            self.listen_error.clone_from(&before.listen_error);
        }
    }

    /// Our listening address could not be opened, or is open now.
    pub(super) fn set_listen_error(&mut self, error: Option<&str>) {
        self.listen_error = error.map(str::to_owned);
    }

    /// A reload changed nothing that a line is made of.
    pub(super) fn is_same(&self, sip: &SipTrunkConfig) -> bool {
        *self.sip == *sip
    }

    /// Hosts whose addresses are wanted now.
    pub(super) fn poll_resolve(&mut self, now: Instant) -> Option<Vec<String>> {
        if self.resolving || self.resolve_at.is_none_or(|at| at > now) {
            return None;
        }
        self.resolving = true;
        self.resolve_at = None;
        let mut hosts = self.sip.sbc_hosts.clone();
        hosts.push(self.sip.gateway_host.clone());
        Some(hosts)
    }

    /// The addresses that were found, best first.
    pub(super) fn handle_resolved(&mut self, now: Instant, found: Result<Vec<Target>, String>) {
        self.resolving = false;
        match found {
            Ok(mut targets) if !targets.is_empty() => {
                targets.truncate(TARGETS_MAX);
                if targets != self.targets {
                    self.asked = 0;
                }
                self.targets = targets;
                self.resolve_error = None;
                self.resolve_at = Some(now + RESOLVE_AGAIN_AFTER);
            }
            Ok(_) => {
                self.resolve_error = Some("no address was found".into());
                self.resolve_at = Some(now + RESOLVE_RETRY_AFTER);
            }
            Err(error) => {
                self.resolve_error = Some(error);
                self.resolve_at = Some(now + RESOLVE_RETRY_AFTER);
            }
        }
    }

    /// Whether no address is known yet and none was refused.
    pub(super) fn is_resolving(&self) -> bool {
        self.targets.is_empty() && self.resolve_error.is_none()
    }

    /// Why no address is known.
    pub(super) fn resolve_error(&self) -> Option<&str> {
        self.resolve_error.as_deref()
    }

    /// Where requests go, best first: not to `gateway_ip` where an SBC is named.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        let hosts = self.sip.sbc_hosts.len().max(1);
        self.targets
            .iter()
            .filter(move |target| target.host < hosts)
    }

    /// The target that OPTIONS and REGISTER go to.
    fn asked(&self) -> Option<Target> {
        self.targets().nth(self.asked).cloned()
    }

    /// The target that was asked failed: the next one is asked, after the last the first.
    fn ask_next(&mut self) {
        self.asked = (self.asked + 1) % self.targets().count().max(1);
    }

    /// Whether messages from there are this trunk's.
    pub(super) fn is_source(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.targets
            .iter()
            .any(|target| target.remote.ip().to_canonical() == ip)
    }

    /// The addresses that its messages come from.
    pub(super) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        self.targets
            .iter()
            .map(|target| target.remote.ip().to_canonical())
    }

    /// Our listening address.
    pub(super) fn listen(&self) -> SocketAddr {
        let ip = self
            .sip
            .internal_sip_ip
            .unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        SocketAddr::new(ip, self.sip.source_pbx_port)
    }

    /// The way to a target.
    pub(super) fn flow(&self, target: &Target) -> Flow {
        let ip = self.sip.external_sip_ip.unwrap_or(target.local_ip);
        Flow {
            transport: self.sip.transport,
            local: self.listen(),
            advertised: SocketAddr::new(ip, self.sip.source_pbx_port),
            remote: target.remote,
            connection: None,
            server_name: target.server_name.clone(),
        }
    }

    /// Contact of our messages, with the URI's user.
    pub(super) fn contact(&self, flow: &Flow, user: &str) -> String {
        let host = value::uri_host(flow.advertised.ip());
        let port = flow.advertised.port();
        let transport = match self.sip.transport {
            SipTransport::Udp => "",
            SipTransport::Tcp => ";transport=tcp",
            SipTransport::Tls => ";transport=tls",
        };
        format!("<sip:{user}@{host}:{port}{transport}>")
    }

    /// The domain of our From and of Request-URIs.
    pub(super) fn domain(&self) -> String {
        match (&self.sip.domain, self.sip.gateway_host.parse::<IpAddr>()) {
            (Some(domain), _) => domain.clone(),
            (None, Ok(ip)) => value::uri_host(ip),
            (None, Err(_)) => self.sip.gateway_host.clone(),
        }
    }

    /// `domain` with the port that the far end listens at, where it is not the usual one.
    pub(super) fn request_domain(&self) -> String {
        let port = self.sip.destination_port;
        match port.filter(|port| *port != self.sip.transport.default_port()) {
            Some(port) if self.sip.domain.is_none() => format!("{}:{port}", self.domain()),
            _ => self.domain(),
        }
    }

    /// The user of our own address.
    pub(super) fn user(&self) -> &str {
        self.sip
            .credentials
            .as_ref()
            .map_or("clutchcall", |credentials| credentials.username.as_str())
    }

    /// When something of the line is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let options = match self.options.waits {
            Some((_, until)) => Some(until),
            None => self.options.next_at.filter(|_| !self.targets.is_empty()),
        };
        let registration = match &self.registration.state {
            RegistrationState::Due(at, _) if !self.targets.is_empty() => Some(*at),
            _ => None,
        };
        let times = [
            self.resolve_at,
            options,
            registration,
            self.breaker.open_until,
        ];
        times.into_iter().flatten().min()
    }

    /// Does what is due: a request to be sent, or none.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        tokens: &mut Tokens,
        user_agent: &str,
    ) -> Option<DueRequest> {
        if self.breaker.open_until.is_some_and(|until| until <= now) {
            self.breaker.open_until = None;
            self.breaker.tries = true;
        }
        if self.options.waits.is_some_and(|(_, until)| until <= now) {
            self.options_failed(now, "it does not answer OPTIONS");
        }
        let target = self.asked()?;
        let flow = self.flow(&target);
        if matches!(self.registration.state, RegistrationState::Due(at, _) if at <= now) {
            let expires_s = self.registration.expires_s;
            let request = self.register(&flow, expires_s, user_agent);
            return Some(DueRequest {
                request,
                flow,
                is_register: true,
            });
        }
        if self.options.waits.is_none() && self.options.next_at.is_some_and(|at| at <= now) {
            self.options.next_at = None;
            let mut request =
                Request::new(Method::Options, format!("sip:{}", self.request_domain()));
            let headers = &mut request.headers;
            headers.push(HeaderName::MaxForwards, "70");
            headers.push(
                HeaderName::From,
                format!(
                    "<sip:{}@{}>;tag={}",
                    self.user(),
                    self.domain(),
                    tokens.tag()
                ),
            );
            headers.push(HeaderName::To, format!("<sip:{}>", self.request_domain()));
            headers.push(HeaderName::CallId, tokens.call_id());
            headers.push(HeaderName::CSeq, "1 OPTIONS");
            headers.push(HeaderName::Contact, self.contact(&flow, self.user()));
            headers.push(HeaderName::UserAgent, user_agent);
            return Some(DueRequest {
                request,
                flow,
                is_register: false,
            });
        }
        None
    }

    /// The request that was due has been sent.
    pub(super) fn sent(&mut self, now: Instant, due: DueRequest, client: ClientId) {
        if due.is_register {
            self.registration.waits = Some((client, due.request));
        } else {
            self.options.waits = Some((client, now + OPTIONS_WITHIN));
        }
    }

    /// A response to our OPTIONS. Whatever it says, somebody is there, unless it says that nobody serves.
    pub(super) fn handle_options_response(
        &mut self,
        now: Instant,
        client: ClientId,
        response: &Response,
    ) {
        if self
            .options
            .waits
            .is_none_or(|(waiting, _)| waiting != client)
            || response.status.is_provisional()
        {
            return;
        }
        match response.status.0 {
            408 | 502..=504 => {
                let text = format!("it answers OPTIONS with {}", response.status);
                self.options_failed(now, &text);
            }
            _ => {
                self.options.waits = None;
                self.options.failures = 0;
                self.options.down = None;
                self.options.next_at =
                    Some(now + Duration::from_secs(self.sip.options_interval_s.into()));
            }
        }
    }

    /// Our OPTIONS could not be delivered.
    pub(super) fn handle_options_failure(&mut self, now: Instant, client: ClientId) {
        if self
            .options
            .waits
            .is_some_and(|(waiting, _)| waiting == client)
        {
            self.options_failed(now, "it can't be reached");
        }
    }

    fn options_failed(&mut self, now: Instant, why: &str) {
        self.options.waits = None;
        self.options.failures += 1;
        self.ask_next();
        // It is down when none of its targets serves.
        let targets = self.targets().count().max(1) as u32;
        if self.options.failures >= OPTIONS_FAILURES_MAX * targets {
            self.options.down = Some(why.to_owned());
            // Perhaps it has moved.
            if !self.resolving {
                self.resolve_at = Some(now);
            }
        }
        let interval = Duration::from_secs(self.sip.options_interval_s.into());
        self.options.next_at =
            Some(now + interval.min(OPTIONS_RETRY_AFTER * self.options.failures.min(10)));
    }

    fn register(&mut self, flow: &Flow, expires_s: u32, user_agent: &str) -> Request {
        let holds = !matches!(&self.registration.state, RegistrationState::Due(_, Some(_)));
        self.registration.state = RegistrationState::Waits(holds);
        self.registration.digest = DigestClient::default();
        self.registration.intervals = 0;
        self.registration.cseq += 1;
        let (domain, user) = (self.domain(), self.user().to_owned());
        let mut request = Request::new(Method::Register, format!("sip:{}", self.request_domain()));
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        headers.push(
            HeaderName::From,
            format!("<sip:{user}@{domain}>;tag={}", self.registration.tag),
        );
        headers.push(HeaderName::To, format!("<sip:{user}@{domain}>"));
        headers.push(HeaderName::CallId, self.registration.call_id.clone());
        headers.push(
            HeaderName::CSeq,
            format!("{} REGISTER", self.registration.cseq),
        );
        headers.push(HeaderName::Contact, self.contact(flow, &user));
        headers.push(HeaderName::Expires, expires_s.to_string());
        headers.push(HeaderName::UserAgent, user_agent);
        request
    }

    /// The registration is given back (drain, or the trunk is gone).
    pub(super) fn end_registration(&mut self, user_agent: &str) -> Option<DueRequest> {
        if matches!(
            self.registration.state,
            RegistrationState::Off | RegistrationState::Ended
        ) {
            return None;
        }
        let target = self.asked()?;
        let flow = self.flow(&target);
        let request = self.register(&flow, 0, user_agent);
        self.registration.state = RegistrationState::Ended;
        Some(DueRequest {
            request,
            flow,
            is_register: true,
        })
    }

    /// Whether the registrar has not answered yet that the registration is over.
    pub(super) fn is_unregistering(&self) -> bool {
        self.registration.state == RegistrationState::Ended && self.registration.waits.is_some()
    }

    /// A response to our REGISTER; the request to send next, if it was a challenge.
    pub(super) fn handle_register_response(
        &mut self,
        now: Instant,
        client: ClientId,
        response: &Response,
        cnonce: [u8; 8],
    ) -> Option<DueRequest> {
        if response.status.is_provisional() {
            return None;
        }
        let (waiting, mut request) = self.registration.waits.take()?;
        if waiting != client {
            self.registration.waits = Some((waiting, request));
            return None;
        }
        match response.status.0 {
            200..=299 => {
                self.registered(now, response);
                None
            }
            401 | 407 => match self.registration.digest.answer(
                &mut request,
                response,
                self.sip.credentials.as_ref(),
                cnonce,
            ) {
                Ok(()) => self.register_again(request),
                Err(error) => {
                    self.registration_failed(now, error.to_string());
                    None
                }
            },
            423 => {
                let min_s = response
                    .headers
                    .number(&HeaderName::MinExpires)
                    .unwrap_or(0)
                    .min(86_400);
                self.registration.intervals += 1;
                if min_s <= self.registration.expires_s
                    || self.registration.intervals > INTERVALS_MAX
                    || self.registration.state == RegistrationState::Ended
                {
                    self.registration_failed(now, "423 without a longer Min-Expires".into());
                    return None;
                }
                self.registration.expires_s = min_s;
                request.headers.set(HeaderName::Expires, min_s.to_string());
                self.register_again(request)
            }
            _ => {
                self.registration_failed(
                    now,
                    format!(
                        "REGISTER was answered {} {}",
                        response.status, response.reason
                    ),
                );
                None
            }
        }
    }

    fn register_again(&mut self, mut request: Request) -> Option<DueRequest> {
        self.registration.cseq += 1;
        request.headers.set(
            HeaderName::CSeq,
            format!("{} REGISTER", self.registration.cseq),
        );
        let target = self.asked()?;
        let flow = self.flow(&target);
        Some(DueRequest {
            request,
            flow,
            is_register: true,
        })
    }

    /// Our REGISTER got no answer.
    pub(super) fn handle_register_failure(&mut self, now: Instant, client: ClientId) {
        if self
            .registration
            .waits
            .as_ref()
            .is_some_and(|(waiting, _)| *waiting == client)
        {
            self.registration.waits = None;
            self.ask_next();
            self.registration_failed(now, "REGISTER was not answered".into());
        }
    }

    fn registered(&mut self, now: Instant, response: &Response) {
        if self.registration.state == RegistrationState::Ended {
            return;
        }
        let expires_s = self
            .granted_s(response)
            .or_else(|| response.headers.number(&HeaderName::Expires))
            .unwrap_or(self.registration.expires_s)
            .max(10);
        self.registration.retry_after = REGISTER_RETRY_AFTER;
        // Well before its end, however long it is: half of it leaves time for a lost one and its repetition.
        let again = Duration::from_secs(u64::from(expires_s)) / 2;
        self.registration.state = RegistrationState::Due(now + again, None);
    }

    /// How long our binding holds (RFC 3261 section 10.2.4): others of the same name may be listed too. A registrar behind a
    /// NAT may list ours with another address; then the shortest counts.
    fn granted_s(&self, response: &Response) -> Option<u32> {
        let target = self.targets().next()?;
        let contact = self.contact(&self.flow(target), self.user());
        let ours = NameAddr::parse(&contact)?.uri;
        let granted = |contact: &str| value::parameter(contact, "expires")?.parse().ok();
        let is_ours =
            |contact: &&str| NameAddr::parse(contact).is_some_and(|contact| contact.uri == ours);
        let contacts = || response.headers.values(&HeaderName::Contact);
        contacts()
            .find(is_ours)
            .and_then(granted)
            .or_else(|| contacts().filter_map(granted).min())
    }

    fn registration_failed(&mut self, now: Instant, why: String) {
        if self.registration.state == RegistrationState::Ended {
            return;
        }
        let again = self.registration.retry_after;
        self.registration.retry_after = (again * 2).min(REGISTER_RETRY_AFTER_MAX);
        self.registration.state = RegistrationState::Due(now + again, Some(why));
    }

    /// A call over the trunk was answered, or refused for reasons of its own.
    pub(super) fn call_went_through(&mut self) {
        self.breaker = Breaker::default();
    }

    /// A call failed by the trunk's fault: 5xx, or nobody answered.
    pub(super) fn call_failed(&mut self, now: Instant) {
        let max = self.sip.circuit_breaker_failures;
        self.breaker.failures = self.breaker.failures.saturating_add(1);
        if max > 0 && (self.breaker.tries || self.breaker.failures >= max) {
            self.breaker.tries = false;
            self.breaker.open_until =
                Some(now + Duration::from_secs(self.sip.circuit_breaker_open_s.into()));
        }
    }

    /// Whether calls may go over it.
    pub(super) fn health(&self) -> TrunkHealth {
        if self.breaker.open_until.is_some() {
            return TrunkHealth::BreakerOpen;
        }
        if let Some(error) = &self.listen_error {
            let listen = self.listen();
            return TrunkHealth::Down(format!("our address {listen} can't be bound: {error}"));
        }
        if let Some(why) = &self.options.down {
            return TrunkHealth::Down(why.clone());
        }
        if let RegistrationState::Due(_, Some(why)) = &self.registration.state {
            return TrunkHealth::Down(format!("not registered: {why}"));
        }
        if self.registration.state == RegistrationState::Waits(false) {
            return TrunkHealth::Down("not registered: REGISTER is not answered yet".into());
        }
        match &self.resolve_error {
            Some(error) if self.targets.is_empty() => TrunkHealth::Down(error.clone()),
            _ => TrunkHealth::Up,
        }
    }

    /// The health, if it is another than was told.
    pub(super) fn poll_health(&mut self) -> Option<TrunkHealth> {
        let health = self.health();
        (health != self.told).then(|| {
            self.told = health.clone();
            health
        })
    }
}
