//! Dialogs (RFC 3261 section 12): who the two sides are, where requests go, and in which order they are counted.
//!
//! A dialog makes and checks requests; what they mean is the call's.

use std::net::SocketAddr;

use super::flow::Flow;
use super::message::value::{NameAddr, SipUri};
use super::message::{HeaderName, Headers, Method, Request, Response, StatusCode, value};

/// Record-Route entries that are taken; more make a dialog impossible.
pub const ROUTES_MAX: usize = 20;

/// What names a dialog, seen from us.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DialogId {
    /// The Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The far end's tag.
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog that a request of the far end belongs to; none for one that begins something.
    pub fn of_request(request: &Request) -> Option<Self> {
        Some(Self {
            call_id: request.headers.call_id().to_owned(),
            local_tag: request.headers.to_tag()?.to_owned(),
            remote_tag: request.headers.from_tag()?.to_owned(),
        })
    }
}

/// One dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    id: DialogId,
    /// From of our requests, without the tag.
    local: String,
    /// To of our requests, without the tag.
    remote: String,
    remote_target: String,
    route_set: Vec<String>,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    /// Where the dialog's messages travel.
    flow: Flow,
}

impl Dialog {
    /// The dialog that a response with a To tag makes (section 12.1.2).
    pub fn of_response(request: &Request, response: &Response, flow: &Flow) -> Option<Self> {
        let headers = &response.headers;
        let mut route_set = record_route(headers)?;
        route_set.reverse();
        let remote_target = match contact(headers) {
            Some(contact) => contact,
            // A response that makes a dialog has one (section 12.1.1); early ones of careless equipment lack it.
            None if response.status.is_provisional() => request.uri.clone(),
            None => return None,
        };
        Some(
            Self {
                id: DialogId {
                    call_id: headers.call_id().to_owned(),
                    local_tag: headers.from_tag()?.to_owned(),
                    remote_tag: headers.to_tag()?.to_owned(),
                },
                local: without_tag(request.headers.get(&HeaderName::From)?),
                remote: without_tag(request.headers.get(&HeaderName::To)?),
                remote_target,
                route_set,
                local_cseq: request.cseq(),
                remote_cseq: None,
                flow: flow.clone(),
            }
            .with_flow(),
        )
    }

    /// The dialog that our answer to `request` makes (section 12.1.1).
    pub fn of_request(request: &Request, local_tag: &str, flow: &Flow) -> Option<Self> {
        let headers = &request.headers;
        Some(
            Self {
                id: DialogId {
                    call_id: headers.call_id().to_owned(),
                    local_tag: local_tag.to_owned(),
                    remote_tag: headers.from_tag()?.to_owned(),
                },
                local: without_tag(headers.get(&HeaderName::To)?),
                remote: without_tag(headers.get(&HeaderName::From)?),
                remote_target: contact(headers)?,
                route_set: record_route(headers)?,
                local_cseq: 0,
                remote_cseq: Some(request.cseq()),
                flow: flow.clone(),
            }
            .with_flow(),
        )
    }

    /// Its name.
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// Where its messages travel.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// The number of our last request.
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Requests were counted elsewhere: in the early form of this dialog.
    pub fn counted_to(&mut self, cseq: u32) {
        self.local_cseq = self.local_cseq.max(cseq);
    }

    /// Where the far end is called.
    pub fn remote_target(&self) -> &str {
        &self.remote_target
    }

    /// The far end's address without a tag: whom a transfer names.
    pub fn remote(&self) -> &str {
        &self.remote
    }

    /// A request in the dialog, complete but for Via, Contact and what the method itself needs.
    pub fn request(&mut self, method: Method) -> Request {
        self.local_cseq += 1;
        let number = self.local_cseq;
        self.numbered_request(method, number)
    }

    /// The ACK for a 2xx to the INVITE of that number (section 13.2.2.4).
    pub fn ack(&self, invite_cseq: u32) -> Request {
        self.numbered_request(Method::Ack, invite_cseq)
    }

    fn numbered_request(&self, method: Method, number: u32) -> Request {
        let (uri, routes) = self.request_uri_and_routes();
        let mut request = Request::new(method, uri);
        let headers = &mut request.headers;
        headers.push(HeaderName::MaxForwards, "70");
        for route in routes {
            headers.push(HeaderName::Route, route);
        }
        headers.push(
            HeaderName::From,
            format!("{};tag={}", self.local, self.id.local_tag),
        );
        headers.push(
            HeaderName::To,
            format!("{};tag={}", self.remote, self.id.remote_tag),
        );
        headers.push(HeaderName::CallId, self.id.call_id.clone());
        headers.push(HeaderName::CSeq, format!("{number} {}", request.method));
        request
    }

    /// Section 12.2.1.1: a strict router stands in the Request-URI, the target goes to the end.
    fn request_uri_and_routes(&self) -> (String, Vec<String>) {
        let Some(first) = self.route_set.first() else {
            return (self.remote_target.clone(), Vec::new());
        };
        let uri = NameAddr::parse(first).map_or(first.as_str(), |route| route.uri);
        if SipUri::parse(uri).is_some_and(|uri| uri.is_loose_router()) {
            return (self.remote_target.clone(), self.route_set.clone());
        }
        let mut routes = self.route_set[1..].to_vec();
        routes.push(format!("<{}>", self.remote_target));
        (uri.to_owned(), routes)
    }

    /// Checks the number of a request of the far end (section 12.2.2) and takes its contact where the method refreshes
    /// the target.
    ///
    /// # Errors
    /// 500: older than one that came before.
    pub fn take_request(&mut self, request: &Request) -> Result<(), StatusCode> {
        let number = request.cseq();
        if !matches!(request.method, Method::Ack | Method::Cancel) {
            if self.remote_cseq.is_some_and(|last| number <= last) {
                return Err(StatusCode(500));
            }
            self.remote_cseq = Some(number);
        }
        if matches!(request.method, Method::Invite | Method::Update) {
            self.refresh_target(&request.headers);
        }
        Ok(())
    }

    /// A 2xx to a re-INVITE or UPDATE, or the far end's own, names its target anew.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(contact) = contact(headers) {
            self.remote_target = contact;
            self.choose_flow();
        }
    }

    /// The connection or address that the far end was last heard from.
    pub fn heard_from(&mut self, flow: &Flow) {
        if self.flow.transport == flow.transport && flow.connection.is_some() {
            self.flow.connection = flow.connection;
        }
    }

    fn with_flow(mut self) -> Self {
        self.choose_flow();
        self
    }

    /// Requests go to the first route or the target. Names are taken to be where the dialog's messages come from, and so
    /// are private addresses that were told by somebody who has a public one: he sits behind a NAT.
    fn choose_flow(&mut self) {
        let (next, is_route) = match self.route_set.first() {
            Some(route) => (
                NameAddr::parse(route).map_or(route.as_str(), |route| route.uri),
                true,
            ),
            None => (self.remote_target.as_str(), false),
        };
        let Some(uri) = SipUri::parse(next) else {
            return;
        };
        let Some(ip) = uri.ip() else {
            return;
        };
        let heard_from = self.flow.remote.ip();
        let is_behind_nat = !is_route && is_private(ip) && !is_private(heard_from);
        if is_behind_nat || ip.is_unspecified() || ip.is_multicast() {
            return;
        }
        let transport = uri.transport().unwrap_or(self.flow.transport);
        let remote = SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port()));
        // Our listening addresses belong to a transport: the dialog stays on the one that it began on.
        if transport == self.flow.transport {
            self.flow.remote = remote;
        }
    }
}

fn is_private(ip: std::net::IpAddr) -> bool {
    match ip.to_canonical() {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

/// The URI of Contact.
pub fn contact(headers: &Headers) -> Option<String> {
    let contact = headers.values(&HeaderName::Contact).next()?;
    let uri = NameAddr::parse(contact)?.uri;
    SipUri::parse(uri).map(|_| uri.to_owned())
}

/// The recorded route; none where it is too long or holds what is no address: it would stand in a Request-URI.
fn record_route(headers: &Headers) -> Option<Vec<String>> {
    let routes: Vec<String> = headers
        .values(&HeaderName::RecordRoute)
        .map(str::to_owned)
        .collect();
    let is_address = |route: &String| {
        NameAddr::parse(route).is_some_and(|route| SipUri::parse(route.uri).is_some())
    };
    (routes.len() <= ROUTES_MAX && routes.iter().all(is_address)).then_some(routes)
}

/// A From or To without its tag and other parameters. A name in quotes stays as it stands there, escapes too.
fn without_tag(field: &str) -> String {
    let Some(address) = NameAddr::parse(field) else {
        return field.to_owned();
    };
    match address.display_name {
        Some(name) if field.trim_start().starts_with('"') => {
            format!("\"{name}\" <{}>", address.uri)
        }
        Some(name) => format!("{} <{}>", value::quoted(name), address.uri),
        None => format!("<{}>", address.uri),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::message::Message;
    use super::*;
    use crate::config::SipTransport;

    fn flow() -> Flow {
        Flow {
            transport: SipTransport::Udp,
            local: "192.0.2.1:5060".parse().unwrap(),
            advertised: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.9:5062".parse().unwrap(),
            connection: None,
            server_name: None,
        }
    }

    fn invite(extra: &str) -> Request {
        let text = format!(
            "INVITE sip:b@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\n\
             From: \"A\" <sip:a@192.0.2.9>;tag=theirs\r\nTo: <sip:b@192.0.2.1>\r\nCall-ID: c\r\n\
             CSeq: 5 INVITE\r\n{extra}\r\n"
        );
        match Message::parse(text.as_bytes()).unwrap() {
            Message::Request(request) => request,
            Message::Response(_) => unreachable!(),
        }
    }

    #[test]
    fn the_called_side_answers_along_the_recorded_route() {
        let request = invite(
            "Contact: <sip:a@10.0.0.9:5070>\r\nRecord-Route: <sip:198.51.100.1;lr>, <sip:198.51.100.2;lr>\r\n",
        );
        let mut dialog = Dialog::of_request(&request, "ours", &flow()).unwrap();
        assert_eq!(dialog.flow().remote, "198.51.100.1:5060".parse().unwrap());
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.uri, "sip:a@10.0.0.9:5070");
        let routes: Vec<&str> = bye.headers.values(&HeaderName::Route).collect();
        assert_eq!(routes, ["<sip:198.51.100.1;lr>", "<sip:198.51.100.2;lr>"]);
        assert_eq!(
            bye.headers.get(&HeaderName::From),
            Some("<sip:b@192.0.2.1>;tag=ours")
        );
        assert_eq!(
            bye.headers.get(&HeaderName::To),
            Some("\"A\" <sip:a@192.0.2.9>;tag=theirs")
        );
        assert_eq!(bye.headers.cseq(), Some((1, Method::Bye)));
    }

    #[test]
    fn a_strict_router_stands_in_the_request_uri() {
        let request = invite("Contact: <sip:a@192.0.2.9>\r\nRecord-Route: <sip:198.51.100.1>\r\n");
        let mut dialog = Dialog::of_request(&request, "ours", &flow()).unwrap();
        let bye = dialog.request(Method::Bye);
        assert_eq!(bye.uri, "sip:198.51.100.1");
        assert_eq!(
            bye.headers.get(&HeaderName::Route),
            Some("<sip:a@192.0.2.9>")
        );
    }

    #[test]
    fn a_contact_behind_a_nat_is_reached_where_it_came_from() {
        let nat = Flow {
            remote: "203.0.113.5:40000".parse().unwrap(),
            ..flow()
        };
        let request = invite("Contact: <sip:a@192.168.1.9:5070>\r\n");
        let dialog = Dialog::of_request(&request, "ours", &nat).unwrap();
        assert_eq!(dialog.flow().remote, nat.remote);
        let lan = Flow {
            remote: "10.1.1.1:5060".parse().unwrap(),
            ..flow()
        };
        let dialog = Dialog::of_request(&request, "ours", &lan).unwrap();
        assert_eq!(dialog.flow().remote, "192.168.1.9:5070".parse().unwrap());
    }

    #[test]
    fn a_route_that_is_no_address_makes_no_dialog() {
        let request =
            invite("Contact: <sip:a@192.0.2.9>\r\nRecord-Route: <sip and space>, <sip:b>\r\n");
        assert!(Dialog::of_request(&request, "ours", &flow()).is_none());
    }

    #[test]
    fn requests_are_taken_in_order() {
        let request = invite("Contact: <sip:a@192.0.2.9>\r\n");
        let mut dialog = Dialog::of_request(&request, "ours", &flow()).unwrap();
        assert_eq!(dialog.take_request(&request), Err(StatusCode(500)));
        let mut newer = invite("Contact: <sip:new@192.0.2.10:5071>\r\n");
        newer.headers.set(HeaderName::CSeq, "6 INVITE");
        assert_eq!(dialog.take_request(&newer), Ok(()));
        assert_eq!(dialog.remote_target(), "sip:new@192.0.2.10:5071");
        assert_eq!(dialog.flow().remote, "192.0.2.10:5071".parse().unwrap());
    }
}
