//! The system calls behind the batches: `recvmmsg`, `sendmmsg`, `recvfrom`, `sendto`, `epoll`. All `unsafe` of this
//! folder is here; what leaves it is safe to call.

use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use super::address::{Family, RAW_ADDRESS_BYTES, RawAddress};
use super::control::{CONTROL_BYTES, Control};

/// Message headers for one `recvmmsg` or `sendmmsg`. The pointers in them are written right before each call and mean
/// nothing afterwards.
pub(super) struct Messages {
    headers: Box<[libc::mmsghdr]>,
    slices: Box<[libc::iovec]>,
    addresses: Box<[RawAddress]>,
    controls: Box<[Control]>,
}

/// One datagram to be sent: its bytes, where to, and from which of our addresses if that matters.
pub(super) struct Departure<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) to: (RawAddress, usize),
    pub(super) leave_from: Option<(Control, usize)>,
}

/// What the kernel says about one received datagram.
pub(super) struct Arrival {
    pub(super) from: RawAddress,
    /// Which of our addresses it was sent to, if the socket tells.
    pub(super) addressed: Option<IpAddr>,
    pub(super) bytes: usize,
    pub(super) truncated: bool,
}

// SAFETY: the pointers in the headers are set at each call, to what this value owns or the call borrows, and nothing is
// read through them in between; so they may move to another thread with what they point to.
unsafe impl Send for Messages {}

impl Messages {
    /// Headers for `packets` datagrams.
    pub(super) fn new(packets: usize) -> Self {
        // SAFETY: mmsghdr and iovec are plain data for which all zeroes (null pointers, no bytes) is a value.
        let (header, slice) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Self {
            headers: vec![header; packets].into_boxed_slice(),
            slices: vec![slice; packets].into_boxed_slice(),
            addresses: vec![RawAddress::EMPTY; packets].into_boxed_slice(),
            controls: vec![Control::EMPTY; packets].into_boxed_slice(),
        }
    }

    /// Receives into consecutive pieces of `buffer` of `bytes_each` bytes, as many as there are headers and pieces.
    /// Returns how many datagrams came, at least one.
    pub(super) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        buffer: &mut [u8],
        bytes_each: usize,
    ) -> io::Result<usize> {
        let pieces = buffer.chunks_exact_mut(bytes_each);
        let mut count = 0;
        for ((((header, slice), address), control), piece) in self
            .headers
            .iter_mut()
            .zip(&mut self.slices)
            .zip(&mut self.addresses)
            .zip(&mut self.controls)
            .zip(pieces)
        {
            slice.iov_base = piece.as_mut_ptr().cast();
            slice.iov_len = piece.len();
            point(header, slice, address, RAW_ADDRESS_BYTES);
            point_control(header, control, CONTROL_BYTES);
            count += 1;
        }
        // SAFETY: the first `count` headers point to one iovec, one address, one control buffer of the length that is
        // told and one piece of the buffer each, all borrowed for the call and none shared. No timeout is given.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// The `index`th datagram of the last [`Messages::receive`].
    pub(super) fn arrival(&self, index: usize) -> Arrival {
        let header = &self.headers[index];
        Arrival {
            from: self.addresses[index],
            addressed: self.controls[index].addressed(header.msg_hdr.msg_controllen),
            bytes: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    /// Sends the datagrams in order, as many as there are headers. Returns how many were sent, at least one; the error
    /// is that of the first.
    pub(super) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Departure<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        for ((((header, slice), address), control), departure) in self
            .headers
            .iter_mut()
            .zip(&mut self.slices)
            .zip(&mut self.addresses)
            .zip(&mut self.controls)
            .zip(datagrams)
        {
            let (to, to_bytes) = departure.to;
            slice.iov_base = departure.bytes.as_ptr().cast_mut().cast();
            slice.iov_len = departure.bytes.len();
            *address = to;
            point(header, slice, address, to_bytes);
            match departure.leave_from {
                Some((leave_from, control_bytes)) => {
                    *control = leave_from;
                    point_control(header, control, control_bytes);
                }
                None => point_control(header, control, 0),
            }
            count += 1;
        }
        // SAFETY: the first `count` headers point to one iovec, one address and at most one control message each, borrowed
        // for the call; the bytes are borrowed for 'a, which outlives the call, and are only read.
        let sent = unsafe {
            libc::sendmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn point(
    header: &mut libc::mmsghdr,
    slice: &mut libc::iovec,
    address: &mut RawAddress,
    address_bytes: usize,
) {
    header.msg_len = 0;
    header.msg_hdr.msg_name = ptr::from_mut(address).cast();
    header.msg_hdr.msg_namelen = address_bytes as libc::socklen_t;
    header.msg_hdr.msg_iov = slice;
    header.msg_hdr.msg_iovlen = 1;
    header.msg_hdr.msg_flags = 0;
}

fn point_control(header: &mut libc::mmsghdr, control: &mut Control, control_bytes: usize) {
    header.msg_hdr.msg_control = if control_bytes > 0 {
        ptr::from_mut(control).cast()
    } else {
        ptr::null_mut()
    };
    header.msg_hdr.msg_controllen = control_bytes as _;
}

/// Makes the kernel tell which of our addresses each datagram was sent to.
pub(super) fn tell_addressed(fd: BorrowedFd<'_>, family: Family) -> io::Result<()> {
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    // SAFETY: the value is borrowed for the call and given with its size.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// One datagram into `buffer`.
pub(super) fn receive_from(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Arrival> {
    let mut from = RawAddress::EMPTY;
    let mut from_bytes = RAW_ADDRESS_BYTES as libc::socklen_t;
    // SAFETY: buffer and address are borrowed for the call and given with their lengths. With MSG_TRUNC the result is
    // the datagram's own length, of which only what fits was written.
    let received = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            (&raw mut from).cast(),
            &mut from_bytes,
        )
    };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok(Arrival {
        from,
        addressed: None,
        bytes: bytes.min(buffer.len()),
        truncated: bytes > buffer.len(),
    })
}

/// One datagram to `to`.
pub(super) fn send_to(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    (to, to_bytes): (RawAddress, usize),
) -> io::Result<()> {
    // SAFETY: bytes and address are borrowed for the call and given with their lengths.
    let sent = unsafe {
        libc::sendto(
            fd.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            (&raw const to).cast(),
            to_bytes as libc::socklen_t,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A close-on-exec epoll instance.
pub(super) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: epoll_create1 takes no pointers.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Watches `fd` for datagrams, level-triggered, under `key`.
pub(super) fn epoll_add(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>, key: u64) -> io::Result<()> {
    let mut event = libc::epoll_event {
        events: libc::EPOLLIN as u32,
        u64: key,
    };
    // SAFETY: the event is borrowed for the call.
    let added = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_ADD,
            fd.as_raw_fd(),
            &mut event,
        )
    };
    if added != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Watches `fd` no more.
pub(super) fn epoll_remove(epoll: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no event is given, which the kernel allows for a removal.
    let removed = unsafe {
        libc::epoll_ctl(
            epoll.as_raw_fd(),
            libc::EPOLL_CTL_DEL,
            fd.as_raw_fd(),
            ptr::null_mut(),
        )
    };
    if removed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What is ready now, without waiting: fills the front of `events` and returns how many.
pub(super) fn epoll_poll(
    epoll: BorrowedFd<'_>,
    events: &mut [libc::epoll_event],
) -> io::Result<usize> {
    let room = i32::try_from(events.len()).unwrap_or(i32::MAX);
    // SAFETY: the kernel writes at most `room` events into the slice.
    let ready = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, 0) };
    usize::try_from(ready).map_err(|_| io::Error::last_os_error())
}
