//! Socket addresses in the kernel's layout (`sockaddr_in`, `sockaddr_in6`), both families in one cell of fixed size.

use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What kind of addresses a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`; IPv4 peers have v4-mapped addresses here.
    V6,
}

/// A `sockaddr_in6`, or a `sockaddr_in` and padding.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(4))]
pub(super) struct RawAddress([u8; RAW_ADDRESS_BYTES]);

pub(super) const RAW_ADDRESS_BYTES: usize = size_of::<libc::sockaddr_in6>();

const V4_BYTES: usize = size_of::<libc::sockaddr_in>();

// The layout that `encode` and `decode` write out.
const _: () = {
    assert!(
        offset_of!(libc::sockaddr_in, sin_family) == 0
            && offset_of!(libc::sockaddr_in, sin_port) == 2
    );
    assert!(offset_of!(libc::sockaddr_in, sin_addr) == 4 && V4_BYTES == 16);
    assert!(
        offset_of!(libc::sockaddr_in6, sin6_family) == 0
            && offset_of!(libc::sockaddr_in6, sin6_port) == 2
    );
    assert!(
        offset_of!(libc::sockaddr_in6, sin6_flowinfo) == 4
            && offset_of!(libc::sockaddr_in6, sin6_addr) == 8
    );
    assert!(offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24 && RAW_ADDRESS_BYTES == 28);
};

impl RawAddress {
    pub(super) const EMPTY: Self = Self([0; RAW_ADDRESS_BYTES]);

    /// The address of `remote` on a socket of `family`, and how many bytes of it count. None when a socket for IPv4 is
    /// to send to IPv6.
    pub(super) fn encode(remote: SocketAddr, family: Family) -> Option<(Self, usize)> {
        match (family, unmapped(remote)) {
            (Family::V4, SocketAddr::V4(v4)) => Some((Self::from_v4(v4), V4_BYTES)),
            (Family::V4, SocketAddr::V6(_)) => None,
            (Family::V6, SocketAddr::V6(v6)) => Some((Self::from_v6(v6), RAW_ADDRESS_BYTES)),
            (Family::V6, SocketAddr::V4(v4)) => {
                let mapped = SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0);
                Some((Self::from_v6(mapped), RAW_ADDRESS_BYTES))
            }
        }
    }

    /// The address that the kernel wrote, v4-mapped ones as IPv4; none of another family.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        let [f0, f1, p0, p1, rest @ ..] = self.0;
        let port = u16::from_be_bytes([p0, p1]);
        match i32::from(u16::from_ne_bytes([f0, f1])) {
            libc::AF_INET => {
                let [a, b, c, d, ..] = rest;
                Some(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port).into())
            }
            libc::AF_INET6 => {
                let [i0, i1, i2, i3, tail @ ..] = rest;
                let (ip, scope) = tail.split_first_chunk::<16>()?;
                let scope = u32::from_ne_bytes(scope.try_into().ok()?);
                let flowinfo = u32::from_be_bytes([i0, i1, i2, i3]);
                let v6 = SocketAddrV6::new(Ipv6Addr::from(*ip), port, flowinfo, scope);
                Some(unmapped(v6.into()))
            }
            _ => None,
        }
    }

    fn from_v4(addr: SocketAddrV4) -> Self {
        let mut raw = Self::with_family_and_port(libc::AF_INET, addr.port());
        raw.0[4..8].copy_from_slice(&addr.ip().octets());
        raw
    }

    fn from_v6(addr: SocketAddrV6) -> Self {
        let mut raw = Self::with_family_and_port(libc::AF_INET6, addr.port());
        raw.0[4..8].copy_from_slice(&addr.flowinfo().to_be_bytes());
        raw.0[8..24].copy_from_slice(&addr.ip().octets());
        raw.0[24..28].copy_from_slice(&addr.scope_id().to_ne_bytes());
        raw
    }

    fn with_family_and_port(family: i32, port: u16) -> Self {
        let mut raw = Self::EMPTY;
        // Both families are small positive numbers.
        raw.0[0..2].copy_from_slice(&(family as libc::sa_family_t).to_ne_bytes());
        raw.0[2..4].copy_from_slice(&port.to_be_bytes());
        raw
    }
}

/// `::ffff:192.0.2.1` as `192.0.2.1`: one peer has one address, or whatever is counted per address counts it twice.
pub(crate) fn unmapped(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddrV4::new(ip, v6.port()).into(),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_ipv6_address_survives(ip: [u8; 16], port: u16, flowinfo: u32, scope: u32) {
            let addr = unmapped(SocketAddrV6::new(ip.into(), port, flowinfo, scope).into());
            let (raw, _) = RawAddress::encode(addr, Family::V6).unwrap();
            prop_assert_eq!(raw.decode(), Some(addr));
        }

        #[test]
        fn every_ipv4_address_survives_on_both_kinds_of_socket(ip: [u8; 4], port: u16) {
            let addr = SocketAddr::from((ip, port));
            for family in [Family::V4, Family::V6] {
                let (raw, _) = RawAddress::encode(addr, family).unwrap();
                prop_assert_eq!(raw.decode(), Some(addr));
            }
        }
    }

    #[test]
    fn a_socket_for_ipv4_takes_mapped_addresses_and_no_others_of_ipv6() {
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:5004".parse().unwrap();
        let (raw, bytes) = RawAddress::encode(mapped, Family::V4).unwrap();
        assert_eq!(
            (raw.decode(), bytes),
            (Some("192.0.2.1:5004".parse().unwrap()), 16)
        );
        assert!(RawAddress::encode("[2001:db8::1]:5004".parse().unwrap(), Family::V4).is_none());
    }
}
