//! The panic guard: a panic in one call becomes an error value, and the executor with its other calls lives on.
//!
//! glommio unwinds the whole executor when any task panics, so every task runs under [`guarded`] and every packet or
//! timer handler under [`catch`]. What a closure had borrowed may be half changed after a panic: the caller must throw
//! the state of that one call away. A panic while panicking, and `panic = "abort"`, can't be caught.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {message}")]
pub struct Panicked {
    /// What `panic!` was given.
    pub message: String,
}

impl Panicked {
    pub(crate) fn from_payload(payload: Box<dyn Any + Send>) -> Self {
        let message = if let Some(text) = payload.downcast_ref::<&'static str>() {
            (*text).to_owned()
        } else if let Some(text) = payload.downcast_ref::<String>() {
            text.clone()
        } else {
            "a payload that is no text".to_owned()
        };
        Self { message }
    }
}

/// Runs `work`; a panic in it is returned as an error.
///
/// # Errors
/// The panic. What `work` changed up to then stays changed.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(Panicked::from_payload)
}

/// Drives `future`; a panic in any of its polls ends it and is returned as an error.
///
/// The future goes to the heap at once. An `async fn` would hold it twice, as its argument and where it is pinned, and so
/// would each one around it: three times the connection's future was 58 KiB of every caller.
///
/// # Errors
/// The panic. The future's locals were dropped by the unwinding.
pub fn guarded<F: Future>(future: F) -> impl Future<Output = Result<F::Output, Panicked>> {
    let mut future = Box::pin(future);
    poll_fn(
        move |context| match catch(|| future.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        },
    )
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures_lite::future::{block_on, yield_now};

    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(
            catch(|| -> u8 { panic!("peer {}", 3) }),
            Err(Panicked {
                message: "peer 3".to_owned()
            })
        );
        assert_eq!(
            catch(|| std::panic::panic_any(42)),
            Err(Panicked {
                message: "a payload that is no text".to_owned()
            })
        );
    }

    #[test]
    fn a_panic_after_a_yield_drops_what_the_future_held() {
        struct Held(Rc<Cell<bool>>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let dropped = Rc::new(Cell::new(false));
        let held = Held(dropped.clone());
        let result = block_on(guarded(async move {
            let _held = held;
            yield_now().await;
            panic!("late");
        }));
        assert_eq!(
            result,
            Err::<(), _>(Panicked {
                message: "late".to_owned()
            })
        );
        assert!(dropped.get());
    }
}
