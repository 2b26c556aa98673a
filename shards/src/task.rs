//! The tasks of one executor: started under the panic guard, counted, and ended before the executor ends.
//!
//! A task that is still alive when the main future returns would take its sockets along into the void, so the executor
//! cancels all of them first.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;

use crate::guard::{Panicked, catch, guarded};

/// Rounds of cancelling at the end: a task that is dropped may start another one, but not for ever.
const CANCEL_ROUNDS_MAX: usize = 16;

/// One executor runs per thread, so its tasks are the thread's.
#[derive(Default)]
struct Tasks {
    next_id: u64,
    /// `None` while the task's first poll runs, which is before glommio hands its handle out.
    live: HashMap<u64, Option<glommio::Task<()>>>,
}

thread_local! {
    static TASKS: RefCell<Tasks> = RefCell::new(Tasks::default());
}

/// Starts `future` on this executor, detached and under the panic guard. Its first poll happens at once.
///
/// A panic is logged with `name` and given to `on_panic`; the executor lives on. When the executor's main future
/// returns, tasks that still run are cancelled: their futures are dropped where they wait.
///
/// # Panics
/// Outside of an executor.
pub fn task(
    name: &'static str,
    future: impl Future<Output = ()> + 'static,
    on_panic: impl FnOnce(Panicked) + 'static,
) {
    let id = TASKS.with_borrow_mut(|tasks| {
        tasks.next_id += 1;
        tasks.live.insert(tasks.next_id, None);
        tasks.next_id
    });
    let guarded = guarded(future);
    let handle = glommio::spawn_local(async move {
        if let Err(panicked) = guarded.await {
            tracing::error!(task = name, "{panicked}");
            if let Err(again) = catch(|| on_panic(panicked)) {
                tracing::error!(task = name, "on_panic itself {again}");
            }
        }
        // Dropping the handle of a running task would cancel it; detached, it just ends.
        if let Some(handle) = TASKS
            .with_borrow_mut(|tasks| tasks.live.remove(&id))
            .flatten()
        {
            handle.detach();
        }
    });
    let ended = TASKS.with_borrow_mut(|tasks| match tasks.live.get_mut(&id) {
        Some(slot) => {
            *slot = Some(handle);
            None
        }
        None => Some(handle),
    });
    if let Some(handle) = ended {
        handle.detach();
    }
}

/// How many tasks of this executor are alive, its own heartbeat not counted.
pub fn live_tasks() -> usize {
    TASKS
        .with_borrow(|tasks| tasks.live.len())
        .saturating_sub(1)
}

/// Cancels every task of this executor and waits until their futures are dropped.
pub(crate) async fn cancel_all() {
    for _ in 0..CANCEL_ROUNDS_MAX {
        let live = TASKS.with_borrow_mut(|tasks| std::mem::take(&mut tasks.live));
        if live.is_empty() {
            return;
        }
        for handle in live.into_values().flatten() {
            handle.cancel().await;
        }
    }
    tracing::error!(
        left = live_tasks(),
        "tasks keep starting tasks while the executor ends"
    );
}
