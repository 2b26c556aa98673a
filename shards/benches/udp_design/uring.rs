//! Designs around an io_uring of their own for media.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use shards::udp::UdpSocket;

use crate::design::{Ages, Design};
use crate::sys::Epoll;
use crate::traffic::now_ns;

const ENTRIES: u32 = 4096;
/// A header of 16 bytes, the address, the datagram.
const BUFFER_BYTES: usize = 1600;
const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
const BUFFER_GROUP: u16 = 0;
const GETEVENTS: u32 = 1;
/// Marks a completion as that of a send.
const SEND: u64 = 1 << 63;

/// What the ring is told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// `DEFER_TASKRUN` and `SINGLE_ISSUER`: completions are made when they are asked for, not when packets come.
    pub deferred: bool,
    /// Sockets in the ring's own table.
    pub registered: bool,
    /// Buffers for what comes between two turns; a power of two.
    pub buffers: u16,
}

fn ring(deferred: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(2 * ENTRIES);
    if deferred {
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag();
    }
    builder.build(ENTRIES)
}

/// Memory of whole pages, zeroed.
struct Pages {
    start: *mut u8,
    bytes: usize,
}

impl Pages {
    fn new(bytes: usize) -> io::Result<Self> {
        // SAFETY: a new private mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            bytes,
        })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nothing points into it any more.
        unsafe { libc::munmap(self.start.cast(), self.bytes) };
    }
}

/// Multishot receives into provided buffers; the answers of all sockets in one submission.
pub struct Multishot {
    /// Before what the kernel writes to: it goes first.
    ring: IoUring,
    options: Options,
    sockets: Vec<UdpSocket>,
    /// What a multishot receive is to tell: the sender's address.
    header: Box<libc::msghdr>,
    entries: Pages,
    tail: u16,
    buffers: Pages,
    /// Buffers that are being sent from.
    sending: Vec<u16>,
    to_arm: Vec<usize>,
    out_of_buffers: u64,
}

impl Multishot {
    pub fn new(sockets: Vec<UdpSocket>, options: Options) -> io::Result<Self> {
        let ring = ring(options.deferred)?;
        if options.registered {
            let fds: Vec<_> = sockets
                .iter()
                .map(|socket| socket.as_fd().as_raw_fd())
                .collect();
            ring.submitter().register_files(&fds)?;
        }
        let count = usize::from(options.buffers);
        let entries = Pages::new(count * size_of::<BufRingEntry>())?;
        // SAFETY: the pages are as long as the ring and live as long as it.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries.start as u64,
                options.buffers,
                BUFFER_GROUP,
                0,
            )?;
        }
        // SAFETY: msghdr is plain data; without pointers it only tells how long names are.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = NAME_BYTES as u32;
        let mut design = Self {
            ring,
            options,
            to_arm: (0..sockets.len()).collect(),
            sockets,
            header,
            entries,
            tail: 0,
            buffers: Pages::new(count * BUFFER_BYTES)?,
            sending: Vec::with_capacity(count),
            out_of_buffers: 0,
        };
        design.give_back(0..options.buffers);
        design.arm();
        design.submit();
        Ok(design)
    }

    /// The kernel may write to these buffers again.
    fn give_back(&mut self, buffers: impl IntoIterator<Item = u16>) {
        let mask = self.options.buffers - 1;
        let base = self.entries.start.cast::<BufRingEntry>();
        for buffer in buffers {
            // SAFETY: the mask keeps the entry within the ring, the number came from the kernel or our own count, and
            // nothing of ours points into the buffer any more.
            unsafe {
                let entry = &mut *base.add(usize::from(self.tail & mask));
                entry.set_addr(self.buffers.start.add(usize::from(buffer) * BUFFER_BYTES) as u64);
                entry.set_len(BUFFER_BYTES as u32);
                entry.set_bid(buffer);
            }
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the ring's tail lies in its first entry and is aligned.
        unsafe {
            let tail = BufRingEntry::tail(base).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn arm(&mut self) {
        let header: *const libc::msghdr = &*self.header;
        for socket in std::mem::take(&mut self.to_arm) {
            let receive = if self.options.registered {
                opcode::RecvMsgMulti::new(Fixed(socket as u32), header, BUFFER_GROUP).build()
            } else {
                let fd = Fd(self.sockets[socket].as_fd().as_raw_fd());
                opcode::RecvMsgMulti::new(fd, header, BUFFER_GROUP).build()
            };
            self.push(receive.user_data(socket as u64));
        }
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the header and the buffers live as long as the ring.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.submit();
        }
    }

    fn submit(&mut self) {
        let _ = self.ring.submit();
    }

    /// Makes the completions that wait to be made; since Linux 6.13 one call makes about twenty.
    fn collect(&mut self) {
        while self.options.deferred && self.ring.submission().taskrun() {
            // SAFETY: no argument is given.
            let entered = unsafe {
                let submitter = self.ring.submitter();
                submitter.enter::<libc::sigset_t>(0, 0, GETEVENTS, None)
            };
            if entered.is_err() {
                return;
            }
        }
    }
}

impl Design for Multishot {
    fn wait(&mut self) {
        let patience = Timespec::new().nsec(50_000_000);
        let arguments = SubmitArgs::new().timespec(&patience);
        let _ = self.ring.submitter().submit_with_args(1, &arguments);
    }

    fn turn(&mut self, ages: &mut Ages) {
        self.collect();
        loop {
            let Some(completion) = self.ring.completion().next() else {
                break;
            };
            let (user_data, result, flags) = (
                completion.user_data(),
                completion.result(),
                completion.flags(),
            );
            if user_data & SEND != 0 {
                continue;
            }
            let socket = user_data as usize;
            if !cqueue::more(flags) {
                self.to_arm.push(socket);
                self.out_of_buffers += u64::from(result == -libc::ENOBUFS);
            }
            let (Some(buffer), Ok(bytes)) = (cqueue::buffer_select(flags), usize::try_from(result))
            else {
                continue;
            };
            // SAFETY: the kernel gave us this buffer with so many bytes; it is ours until it is given back.
            let written = unsafe {
                let start = self.buffers.start.add(usize::from(buffer) * BUFFER_BYTES);
                std::slice::from_raw_parts(start, bytes)
            };
            self.sending.push(buffer);
            let Ok(received) = RecvMsgOut::parse(written, &self.header) else {
                continue;
            };
            let (name, payload) = (received.name_data(), received.payload_data());
            let send = |name: &[u8], payload: &[u8]| {
                let (at, len) = (payload.as_ptr(), payload.len() as u32);
                let (to, to_len) = (name.as_ptr().cast(), name.len() as u32);
                let send = if self.options.registered {
                    let send = opcode::Send::new(Fixed(socket as u32), at, len);
                    send.dest_addr(to)
                        .dest_addr_len(to_len)
                        .flags(libc::MSG_DONTWAIT)
                        .build()
                } else {
                    let fd = Fd(self.sockets[socket].as_fd().as_raw_fd());
                    let send = opcode::Send::new(fd, at, len);
                    send.dest_addr(to)
                        .dest_addr_len(to_len)
                        .flags(libc::MSG_DONTWAIT)
                        .build()
                };
                // With MSG_DONTWAIT a send has ended when its submission returns.
                send.user_data(SEND).flags(squeue::Flags::SKIP_SUCCESS)
            };
            let send = send(name, payload);
            self.push(send);
        }
        self.arm();
        if self.ring.submission().is_empty() {
            return;
        }
        self.submit();
        let now = now_ns();
        for &buffer in &self.sending {
            let header = 16 + NAME_BYTES;
            // SAFETY: the buffer is ours until it is given back below; stale bytes of an earlier packet do no harm.
            let packet = unsafe {
                let start = self
                    .buffers
                    .start
                    .add(usize::from(buffer) * BUFFER_BYTES + header);
                std::slice::from_raw_parts(start, 20)
            };
            ages.add(now, packet);
        }
        let sent = std::mem::take(&mut self.sending);
        self.give_back(sent.iter().copied());
        self.sending = sent;
        self.sending.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.buffers.bytes + self.entries.bytes + ENTRIES as usize * (64 + 2 * 16)
    }

    fn out_of_buffers(&self) -> u64 {
        self.out_of_buffers
    }
}

/// Epoll names the sockets; one submission receives from all of them, another answers. No newer kernel than epoll's.
pub struct Batched {
    ring: IoUring,
    sockets: Vec<UdpSocket>,
    epoll: Epoll,
    slots: Vec<Slot>,
    ready: Vec<usize>,
}

struct Slot {
    header: libc::msghdr,
    slice: libc::iovec,
    name: [u8; NAME_BYTES],
    bytes: Box<[u8; 1500]>,
}

const SLOTS: usize = 256;

impl Batched {
    pub fn new(sockets: Vec<UdpSocket>) -> io::Result<Self> {
        let slot = |_| {
            // SAFETY: both are plain data.
            let (header, slice) = unsafe { std::mem::zeroed() };
            Slot {
                header,
                slice,
                name: [0; NAME_BYTES],
                bytes: Box::new([0; 1500]),
            }
        };
        Ok(Self {
            ring: ring(true)?,
            epoll: Epoll::of(&sockets)?,
            sockets,
            slots: (0..SLOTS).map(slot).collect(),
            ready: Vec::with_capacity(1024),
        })
    }

    fn push(&mut self, slot: usize, receive: bool) {
        let socket = self.ready[slot];
        let fd = Fd(self.sockets[socket].as_fd().as_raw_fd());
        let header = &raw mut self.slots[slot].header;
        let entry = if receive {
            opcode::RecvMsg::new(fd, header)
                .flags(libc::MSG_DONTWAIT as u32)
                .build()
        } else {
            opcode::SendMsg::new(fd, header)
                .flags(libc::MSG_DONTWAIT as u32)
                .build()
        };
        // SAFETY: the slots live as long as the ring and are not moved; the ring has more entries than there are slots.
        let _ = unsafe { self.ring.submission().push(&entry.user_data(slot as u64)) };
    }
}

impl Design for Batched {
    fn wait(&mut self) {
        let _ = self.epoll.ready(50);
    }

    fn turn(&mut self, ages: &mut Ages) {
        // Level-triggered: what is left is named again.
        for _ in 0..32 {
            self.ready.clear();
            self.ready.extend(self.epoll.ready(0).take(SLOTS));
            if self.ready.is_empty() {
                return;
            }
            for index in 0..self.ready.len() {
                let slot = &mut self.slots[index];
                slot.slice.iov_base = slot.bytes.as_mut_ptr().cast();
                slot.slice.iov_len = slot.bytes.len();
                slot.header.msg_name = slot.name.as_mut_ptr().cast();
                slot.header.msg_namelen = NAME_BYTES as u32;
                slot.header.msg_iov = &mut slot.slice;
                slot.header.msg_iovlen = 1;
                self.push(index, true);
            }
            let _ = self.ring.submit();
            let received: Vec<_> = self
                .ring
                .completion()
                .map(|done| (done.user_data(), done.result()))
                .collect();
            for (slot, result) in received {
                let Ok(bytes) = usize::try_from(result) else {
                    continue;
                };
                self.slots[slot as usize].slice.iov_len = bytes;
                self.push(slot as usize, false);
            }
            let _ = self.ring.submit();
            let now = now_ns();
            let sent: Vec<_> = self
                .ring
                .completion()
                .map(|done| done.user_data())
                .collect();
            for slot in sent {
                ages.add(now, &self.slots[slot as usize].bytes[..]);
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        SLOTS * (size_of::<Slot>() + 1500) + ENTRIES as usize * (64 + 2 * 16)
    }
}
