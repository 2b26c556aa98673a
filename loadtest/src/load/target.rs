//! The gateway under test, what its callers need, and the sockets of the far ends that it dials.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::admin::Admin;
use super::http_service::ServiceTls;
use super::signalling::Endpoint;
use super::token::TokenSigner;

/// The gateway under test.
pub struct Target {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Whose calls these are.
    pub tenant: String,
    /// Its admin window.
    pub admin: Admin,
    /// The trunk; none: the tenant's route.
    pub trunk_id: Option<String>,
    /// What the callers show or are.
    pub callers: CallersAre,
    /// Where the far ends are; bound before the gateway was configured.
    pub far_end: FarEndAt,
}

/// What callers need to be let in.
pub enum CallersAre {
    /// Pages with tokens.
    Browsers(Box<TokenSigner>),
    /// Twilio, with an account's secret.
    Twilio(TwilioAccount),
    /// A relay with the tenant's bearer token.
    VapiRelays(String),
    /// A SIP carrier.
    Sip {
        /// Where it is: the trunk's `gateway_ip` and `destination_sbc_port`.
        socket: UdpSocket,
        /// Where the gateway listens: the trunk's `source_pbx_port`.
        gateway: SocketAddr,
    },
}

/// Whose streams Twilio's are.
#[derive(Clone)]
pub struct TwilioAccount {
    /// What Twilio was told as the gateway's URL, without a path: it signs that.
    pub public_url: String,
    /// The account's secret.
    pub auth_token: String,
    /// `AC` and 32 hex digits.
    pub account_sid: String,
}

/// Where the far ends are.
pub enum FarEndAt {
    /// In the gateway.
    Echo,
    /// A SIP carrier.
    Sip(UdpSocket),
    /// An AI agent.
    Agent {
        /// Where the gateway dials.
        listener: TcpListener,
        /// None: plain `ws`.
        tls: Option<ServiceTls>,
    },
    /// A Vapi service.
    Vapi {
        /// Where the gateway dials.
        listener: TcpListener,
        /// None: plain `http` and `ws`.
        tls: Option<ServiceTls>,
        /// The name in its URLs.
        host: String,
        /// The key that requests must have.
        api_key: String,
    },
}
