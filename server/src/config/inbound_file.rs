//! `[[tenants.inbound]]`: who takes a trunk's calls.

use super::section::Section;
use super::tenant_file::{self, ID, TenantVendors, TrunkOf};
use super::{InboundRoute, InboundTarget, NumberPattern, TrunkKind};
use crate::id::{TenantId, TrunkId};

/// The most entries of one tenant.
pub(super) const INBOUND_ROUTES_MAX: usize = 4096;
/// The longest `subject`, in bytes.
const SUBJECT_LEN_MAX: usize = 256;

const NUMBER: &str =
    "a number as \"+15550100\", the begin of one as \"+1555*\", or \"*\", without spaces";

/// What an entry's `target` can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetName {
    Browser,
    Echo,
    Vapi,
    Agent,
}

/// Reads the entries in their order.
pub(super) fn read(
    tenant: &mut Section<'_>,
    tenant_id: Option<&TenantId>,
    trunk_of: TrunkOf<'_>,
    vendors: TenantVendors,
) -> Vec<InboundRoute> {
    let mut routes: Vec<InboundRoute> = Vec::new();
    for section in tenant.sections("inbound", INBOUND_ROUTES_MAX) {
        if let Some(route) = read_route(section, tenant_id, trunk_of, vendors, &routes) {
            routes.push(route);
        }
    }
    routes
}

fn read_route(
    mut section: Section<'_>,
    tenant_id: Option<&TenantId>,
    trunk_of: TrunkOf<'_>,
    vendors: TenantVendors,
    before: &[InboundRoute],
) -> Option<InboundRoute> {
    let trunk_id = section.parsed("trunk_id", ID, |text| text.parse::<TrunkId>().ok());
    match &trunk_id {
        None => section.require("trunk_id"),
        Some(located) => {
            if let Some(trunk) = tenant_file::own_trunk(&section, located, tenant_id, trunk_of) {
                match &trunk.kind {
                    TrunkKind::Sip(sip) if sip.reject_incoming_calls => section.warn(
                        "trunk_id",
                        "takes no call: the trunk has reject_incoming_calls = true, its default",
                    ),
                    TrunkKind::Sip(_) => {}
                    _ => {
                        section.wrong(located, "brings no calls; allowed: a trunk of kind \"sip\"")
                    }
                }
            }
        }
    }
    let number = section.parsed("number", NUMBER, NumberPattern::parse);
    if number.is_none() {
        section.require("number");
    }
    let target = read_target(&mut section, tenant_id, trunk_of, vendors);
    if let (Some(trunk_id), Some(number)) = (&trunk_id, &number) {
        let taken = before
            .iter()
            .any(|route| route.trunk_id == trunk_id.value && route.number.covers(&number.value));
        if taken {
            section.warn("number", "takes no call: an entry above takes them all");
        }
    }
    section.finish();
    Some(InboundRoute {
        trunk_id: trunk_id?.value,
        number: number?.value,
        target: target?,
    })
}

fn read_target(
    section: &mut Section<'_>,
    tenant_id: Option<&TenantId>,
    trunk_of: TrunkOf<'_>,
    vendors: TenantVendors,
) -> Option<InboundTarget> {
    let allowed = "\"browser\", \"echo\", \"vapi\", \"agent\"";
    let name = section.parsed("target", allowed, |text| match text {
        "browser" => Some(TargetName::Browser),
        "echo" => Some(TargetName::Echo),
        "vapi" => Some(TargetName::Vapi),
        "agent" => Some(TargetName::Agent),
        _ => None,
    });
    let Some(name) = name else {
        section.require("target");
        // Which of its companions are allowed depends on it.
        section.text("subject");
        section.text("agent_trunk_id");
        return None;
    };
    if name.value != TargetName::Browser {
        section.refuse("subject", "belongs to target \"browser\"");
    }
    if name.value != TargetName::Agent {
        section.refuse("agent_trunk_id", "belongs to target \"agent\"");
    }
    match name.value {
        TargetName::Echo => Some(InboundTarget::Echo),
        TargetName::Vapi => {
            if !vendors.vapi_calls {
                section.wrong(
                    &name,
                    "the tenant makes no calls to Vapi: [tenants.vapi] with api_key_file and assistant_id is missing",
                );
            }
            Some(InboundTarget::Vapi)
        }
        TargetName::Agent => read_agent(section, tenant_id, trunk_of),
        TargetName::Browser => {
            if !vendors.browser {
                section.wrong(&name, "the tenant has no [tenants.browser] table");
            }
            let allowed = format!("1 to {SUBJECT_LEN_MAX} bytes without control characters");
            let subject = section.parsed("subject", &allowed, |text| {
                let usable = (1..=SUBJECT_LEN_MAX).contains(&text.len())
                    && !text.chars().any(char::is_control);
                usable.then(|| text.to_owned())
            });
            Some(InboundTarget::Browser {
                subject: subject.map(|located| located.value),
            })
        }
    }
}

fn read_agent(
    section: &mut Section<'_>,
    tenant_id: Option<&TenantId>,
    trunk_of: TrunkOf<'_>,
) -> Option<InboundTarget> {
    section.require("agent_trunk_id");
    let located = section.parsed("agent_trunk_id", ID, |text| text.parse::<TrunkId>().ok())?;
    let trunk = tenant_file::own_trunk(section, &located, tenant_id, trunk_of)?;
    if !matches!(trunk.kind, TrunkKind::WebSocket(_)) {
        section.wrong(
            &located,
            "is no AI agent; allowed: a trunk of kind \"websocket\"",
        );
        return None;
    }
    Some(InboundTarget::Agent {
        trunk_id: located.value,
    })
}
