//! Which of our addresses a datagram was sent to, and which one an answer leaves from: `IPV6_PKTINFO` and `IP_PKTINFO`
//! control messages (RFC 3542 section 6, ip(7)).
//!
//! A host has several addresses and one wildcard socket. An answer that leaves from another address than the one that was
//! asked is thrown away by ICE agents and by NATs.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::Family;

/// `CMSG_SPACE(sizeof(struct in6_pktinfo))`: the larger of the two.
pub(super) const CONTROL_BYTES: usize = HEADER_BYTES + 24;

/// `CMSG_LEN(0)` where headers are aligned to 8 bytes, as on every 64-bit Linux.
const HEADER_BYTES: usize = 16;
const V6_INFO_BYTES: usize = size_of::<libc::in6_pktinfo>();
const V4_INFO_BYTES: usize = size_of::<libc::in_pktinfo>();

// The layout that is written out below.
const _: () = {
    assert!(size_of::<libc::cmsghdr>() == HEADER_BYTES && offset_of!(libc::cmsghdr, cmsg_len) == 0);
    assert!(
        offset_of!(libc::cmsghdr, cmsg_level) == 8 && offset_of!(libc::cmsghdr, cmsg_type) == 12
    );
    assert!(V6_INFO_BYTES == 20 && offset_of!(libc::in6_pktinfo, ipi6_addr) == 0);
    assert!(V4_INFO_BYTES == 12 && offset_of!(libc::in_pktinfo, ipi_spec_dst) == 4);
};

/// Room for one control message.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control([u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; CONTROL_BYTES]);

    /// The message that makes a datagram leave from `local`, and its length in bytes. None if the socket's family can't.
    pub(super) fn leave_from(local: IpAddr, family: Family) -> Option<(Self, usize)> {
        let mut control = Self::EMPTY;
        let info = &mut control.0[HEADER_BYTES..];
        match (family, local) {
            (Family::V6, local) => {
                let ip = match local {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                info[..16].copy_from_slice(&ip.octets());
                control.write_header(V6_INFO_BYTES, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
                Some((control, CONTROL_BYTES))
            }
            (Family::V4, IpAddr::V4(v4)) => {
                info[4..8].copy_from_slice(&v4.octets());
                control.write_header(V4_INFO_BYTES, libc::IPPROTO_IP, libc::IP_PKTINFO);
                // CMSG_SPACE of 12 bytes is rounded up to 8.
                Some((control, HEADER_BYTES + 16))
            }
            (Family::V4, IpAddr::V6(_)) => None,
        }
    }

    /// The first `len` bytes, as the kernel reads them.
    pub(super) fn bytes(&self, len: usize) -> &[u8] {
        &self.0[..len.min(CONTROL_BYTES)]
    }

    /// The address of ours in the first `len` bytes that the kernel wrote; v4-mapped ones as IPv4.
    pub(super) fn addressed(&self, len: usize) -> Option<IpAddr> {
        let written = self.0.get(..len)?;
        let (header, info) = written.split_first_chunk::<HEADER_BYTES>()?;
        let level = i32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let kind = i32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        match (level, kind) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                Some(IpAddr::V6(Ipv6Addr::from(*info.first_chunk::<16>()?)).to_canonical())
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let spec_dst: [u8; 4] = info.get(4..8)?.try_into().ok()?;
                Some(Ipv4Addr::from(spec_dst).into())
            }
            _ => None,
        }
    }

    fn write_header(&mut self, info_bytes: usize, level: i32, kind: i32) {
        self.0[..8].copy_from_slice(&(HEADER_BYTES + info_bytes).to_ne_bytes());
        self.0[8..12].copy_from_slice(&level.to_ne_bytes());
        self.0[12..16].copy_from_slice(&kind.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let v4: IpAddr = [192, 0, 2, 7].into();
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        for (local, family) in [(v4, Family::V4), (v4, Family::V6), (v6, Family::V6)] {
            let written = Control::leave_from(local, family);
            assert_eq!(
                written.and_then(|(control, len)| control.addressed(len)),
                Some(local)
            );
        }
        assert!(Control::leave_from(v6, Family::V4).is_none());
        assert_eq!(Control::EMPTY.addressed(0), None);
    }
}
