//! The tenants and trunks of a spawned gateway, as `gateway.toml` has them: what the scenario needs, and nothing else.

use std::net::SocketAddr;

use crate::media::AudioCodec;

use super::scenario::{Callers, FarEnd};
use super::spawn::{
    ACCOUNT_SID, API_KEY_VARIABLE, AUTH_TOKEN_VARIABLE, BEARER_TOKEN_VARIABLE, SERVICE_HOST,
    SpawnPlan, TENANT,
};

/// The first media port of a spawned gateway is one of so many even ones from here; the range ends at 32767.
const RTP_PORT_MIN: u16 = 16_384;
const RTP_STARTS: u16 = 3_000;

/// Addresses that stand in the configuration.
pub(super) struct Places {
    /// Of our SIP carrier.
    pub(super) sip: Option<SocketAddr>,
    /// Of our agents, or our Vapi.
    pub(super) service: Option<SocketAddr>,
    /// Where the gateway listens for SIP.
    pub(super) gateway_sip_port: u16,
}

/// Everything behind `[webrtc]`.
pub(super) fn tenants_and_trunks(plan: &SpawnPlan, places: &Places) -> String {
    format!("{}{}", tenant(plan, places), trunk(plan, places))
}

fn tenant(plan: &SpawnPlan, places: &Places) -> String {
    let service_port = places.service.map_or(0, |service| service.port());
    let mut text = format!(
        "[[tenants]]\ntenant_id = \"{TENANT}\"\nmax_calls = 100000\nsetups_per_s = 100000\n"
    );
    if places.service.is_some() {
        text.push_str(&format!("outbound_hosts = [\"{SERVICE_HOST}\"]\n"));
    }
    let vendor = match plan.scenario.callers() {
        Callers::Browser => {
            text.push_str("[tenants.browser]\norigins = [\"https://load.example.com\"]\n");
            Some("browser")
        }
        Callers::Twilio => {
            text.push_str(&format!(
                "[tenants.twilio]\naccount_sid = \"{ACCOUNT_SID}\"\n"
            ));
            Some("twilio")
        }
        Callers::VapiRelay => {
            text.push_str(&format!(
                "[tenants.vapi]\nbearer_token = \"env:{BEARER_TOKEN_VARIABLE}\"\n"
            ));
            Some("vapi")
        }
        Callers::Sip => {
            text.push_str(&format!(
                "[tenants.vapi]\napi_key = \"env:{API_KEY_VARIABLE}\"\nassistant_id = \"load\"\n\
                 api_url = \"https://{SERVICE_HOST}:{service_port}\"\nca_file = \"cert.pem\"\n"
            ));
            None
        }
    };
    let trunk_id = trunk_kind(plan);
    text.push_str(&match vendor {
        Some(vendor) => {
            // A relay can't say where its calls go.
            let to = if vendor == "vapi" {
                "to = \"+15550000000\"\n"
            } else {
                ""
            };
            format!("[[tenants.routes]]\nvendor = \"{vendor}\"\ntrunk_id = \"{trunk_id}\"\n{to}")
        }
        None => format!(
            "[[tenants.inbound]]\ntrunk_id = \"{trunk_id}\"\nnumber = \"*\"\ntarget = \"vapi\"\n"
        ),
    });
    text
}

/// The only trunk's kind, and its name.
fn trunk_kind(plan: &SpawnPlan) -> &'static str {
    match plan.scenario.far_end() {
        FarEnd::Echo => "echo",
        FarEnd::Sip | FarEnd::Vapi => "sip",
        FarEnd::Agent(_) => "websocket",
    }
}

fn trunk(plan: &SpawnPlan, places: &Places) -> String {
    let kind = trunk_kind(plan);
    let mut text = format!(
        "[[trunks]]\ntrunk_id = \"{kind}\"\ntenant_id = \"{TENANT}\"\nkind = \"{kind}\"\nchannel_limit = 20000\n"
    );
    if plan.scenario.callers() == Callers::Twilio {
        text.push_str(&format!(
            "api_bearer_token = \"env:{AUTH_TOKEN_VARIABLE}\"\n"
        ));
    }
    match (plan.scenario.far_end(), places.sip, places.service) {
        (FarEnd::Sip | FarEnd::Vapi, Some(carrier), _) => {
            text.push_str(&sip_lines(plan, places, carrier));
        }
        (FarEnd::Agent(dialect), _, Some(service)) => text.push_str(&format!(
            "inbound_ai_websocket_url = \"wss://{SERVICE_HOST}:{}/agent\"\nagent_dialect = \"{}\"\n\
             agent_ca_file = \"cert.pem\"\n",
            service.port(),
            dialect.name()
        )),
        _ => {}
    }
    text
}

fn sip_lines(plan: &SpawnPlan, places: &Places, carrier: SocketAddr) -> String {
    let codec = match plan.scenario.codec_b() {
        AudioCodec::Opus => "OPUS",
        other => other.name(),
    };
    let incoming = if plan.scenario.callers() == Callers::Sip {
        "reject_incoming_calls = false\n"
    } else {
        ""
    };
    format!(
        "gateway_ip = \"{ip}\"\ndestination_sbc_port = {port}\nsource_pbx_port = {own}\n\
         rtp_start_port = {rtp}\ncodec_preferences = [\"{codec}\"]\noptions_interval_s = 0\n{incoming}",
        ip = carrier.ip(),
        port = carrier.port(),
        own = places.gateway_sip_port,
        // Not where another gateway of this machine begins to look.
        rtp = RTP_PORT_MIN + 2 * (crate::random_u16() % RTP_STARTS),
    )
}
