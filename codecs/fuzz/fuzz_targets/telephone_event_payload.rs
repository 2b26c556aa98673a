//! Telephone-event payloads of any bytes: each event begins where the one before it ended, and written again they are the
//! same but for the reserved bit and padding.
#![no_main]

use codecs::telephone_event::{
    EVENT_BYTES, EVENTS_MAX, Event, PayloadError, event_of_digit, events, write_events,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let whole = payload.len() / EVENT_BYTES;
    let packed: Vec<_> = match events(payload) {
        Ok(events) => events.collect(),
        Err(error) => {
            let expected = if whole == 0 {
                PayloadError::TooShort(payload.len())
            } else {
                PayloadError::TooManyEvents(whole)
            };
            assert_eq!(error, expected);
            assert!(whole == 0 || whole > EVENTS_MAX);
            return;
        }
    };
    assert!(!packed.is_empty() && packed.len() <= whole);
    let mut offset_ticks = 0;
    for packed in &packed {
        assert_eq!(packed.offset_ticks, offset_ticks);
        offset_ticks += u32::from(packed.event.duration_ticks);
        let code = packed.event.digit().map(event_of_digit);
        assert!(code.is_none_or(|code| code == Some(packed.event.code)));
    }
    let read: Vec<Event> = packed.iter().map(|packed| packed.event).collect();
    let mut written = [0; EVENTS_MAX * EVENT_BYTES];
    let bytes = write_events(&read, &mut written).expect("as many as were read");
    let again: Vec<Event> = events(&written[..bytes])
        .expect("what was written")
        .map(|packed| packed.event)
        .collect();
    assert_eq!(again, read);
});
