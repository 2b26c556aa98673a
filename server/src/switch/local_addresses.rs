//! Which addresses our ICE candidates carry when `advertised_ips` names none: those of the interfaces that are up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of this host that a caller could reach: of every interface that is up, without link-local ones; loopback
/// only when there is nothing else.
///
/// # Errors
/// What `getifaddrs` says.
pub fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let all = up_addresses()?;
    let (loopback, reachable): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|ip| !is_link_local(ip))
        .partition(IpAddr::is_loopback);
    Ok(if reachable.is_empty() {
        loopback
    } else {
        reachable
    })
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn up_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `list` is a valid place for the head of the list, which is freed below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: the kernel's list holds valid entries until `freeifaddrs`.
        let (flags, address, next) =
            unsafe { ((*entry).ifa_flags, (*entry).ifa_addr, (*entry).ifa_next) };
        if flags & libc::IFF_UP as u32 != 0 && !address.is_null() {
            found.extend(ip_of(address));
        }
        entry = next;
    }
    // SAFETY: `list` came from `getifaddrs` and is not used after this.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn ip_of(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: a non-null `ifa_addr` begins with its family, and the family says how much more may be read.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let v4 = &*address.cast::<libc::sockaddr_in>();
                Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr))))
            }
            libc::AF_INET6 => {
                let v6 = &*address.cast::<libc::sockaddr_in6>();
                Some(IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn there_is_always_an_address() {
        let addresses = interface_addresses().unwrap();
        assert!(!addresses.is_empty());
        assert!(!addresses.iter().any(is_link_local));
    }
}
