//! A WebSocket that is warm allocates nothing for a message: not to read one, nor to write one, masked or not.
//!
//! A binary of its own because it replaces the global allocator. C code inside the crypto library is not counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use server::websocket::{Message, Reader, Role, Writer};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator unchanged; the counter is a thread-local without a
// destructor, so touching it neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on; the pointer is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_message_allocates_nothing() {
    let text = "{\"event\":\"media\"}".repeat(20);
    for (role, mut writer) in [
        (Role::Server, Writer::client([7; 32])),
        (Role::Client, Writer::server()),
    ] {
        let mut reader = Reader::new(role, 65536);
        let mut before = 0;
        for round in 0..1000 {
            if round == 100 {
                before = ALLOCATIONS.get();
            }
            writer.buffer.clear();
            writer.text(|buffer| buffer.extend_from_slice(text.as_bytes()));
            writer.binary(&[7; 320]);
            writer.ping(b"still there");
            // The same bytes as one message in two fragments.
            let fragmented_at = writer.buffer.len();
            writer.binary(&[8; 100]);
            writer.buffer[fragmented_at] &= 0x7f;
            let continued_at = writer.buffer.len();
            writer.binary(&[9; 100]);
            writer.buffer[continued_at] &= 0xf0;
            reader.push(&writer.buffer);
            assert_eq!(reader.next().unwrap(), Some(Message::Text(&text)));
            assert_eq!(reader.next().unwrap(), Some(Message::Binary(&[7; 320])));
            assert_eq!(reader.next().unwrap(), Some(Message::Ping(b"still there")));
            let Some(Message::Binary(joined)) = reader.next().unwrap() else {
                panic!("the fragments are one message");
            };
            assert_eq!((joined.len(), joined[99], joined[100]), (200, 8, 9));
            assert_eq!(reader.next().unwrap(), None);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{role:?}");
    }
}
