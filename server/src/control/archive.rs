//! The records of the last calls, in memory. A restart forgets them; the durable store is another part.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::call::CallRecord;
use crate::id::CallSid;

/// Records that are kept.
pub const RECORDS_MAX: usize = 10_000;

/// The last [`RECORDS_MAX`] call records.
#[derive(Debug, Default)]
pub struct Archive {
    oldest_first: VecDeque<Arc<CallRecord>>,
    by_call_sid: HashMap<CallSid, Arc<CallRecord>>,
}

impl Archive {
    /// Keeps a record, and lets the oldest go when there are too many.
    pub fn keep(&mut self, record: Arc<CallRecord>) {
        if self.oldest_first.len() >= RECORDS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_call_sid.remove(&oldest.event.call_sid);
        }
        self.by_call_sid
            .insert(record.event.call_sid, Arc::clone(&record));
        self.oldest_first.push_back(record);
    }

    /// The record of one call, if it ended lately.
    pub fn record(&self, call_sid: CallSid) -> Option<&Arc<CallRecord>> {
        self.by_call_sid.get(&call_sid)
    }

    /// The records, the latest end first.
    pub fn latest_first(&self) -> impl Iterator<Item = &Arc<CallRecord>> {
        self.oldest_first.iter().rev()
    }

    /// How many records are kept.
    pub fn len(&self) -> usize {
        self.oldest_first.len()
    }

    /// No call ended yet.
    pub fn is_empty(&self) -> bool {
        self.oldest_first.is_empty()
    }
}
