//! Work that neither a panic nor a client that hangs up takes others down with.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// A future that panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panicked;

/// Turns a panic of the future into a value. The future is put on the heap: what waits for it stays
/// small, and is not moved with it.
///
/// # Errors
///
/// [`Panicked`]; what the panic said is told by the panic hook.
pub fn without_panic<F: Future>(future: F) -> impl Future<Output = Result<F::Output, Panicked>> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        // After a panic the future is only dropped, so nobody sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
}

/// Runs a future to its end, whether or not anybody waits for it: what has begun to change things
/// must not stop in the middle because a client hung up.
///
/// # Errors
///
/// [`Panicked`]; also if the runtime ends meanwhile.
pub async fn to_the_end<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Panicked> {
    tokio::spawn(future).await.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_value_whenever_it_comes() {
        let at_once = without_panic(async { panic!("on purpose") });
        assert!(matches!(at_once.await, Err::<(), _>(Panicked)));
        let later = without_panic(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        assert!(matches!(later.await, Err::<(), _>(Panicked)));
        assert!(matches!(without_panic(async { 7 }).await, Ok(7)));
    }

    #[test]
    fn what_waits_for_a_large_future_is_small() {
        let large = async {
            let room = [0_u8; 8 << 10];
            tokio::task::yield_now().await;
            room.len()
        };
        assert!(size_of_val(&large) > 8 << 10);
        assert!(size_of_val(&without_panic(large)) <= 64);
    }

    #[tokio::test]
    async fn work_goes_on_to_its_end_without_anybody_waiting() {
        let (told, hears) = tokio::sync::oneshot::channel();
        let (ends, ended) = tokio::sync::oneshot::channel();
        let mut work = Box::pin(to_the_end(async {
            hears.await.unwrap();
            ends.send(()).unwrap();
        }));
        assert!(poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx).is_pending())).await);
        drop(work);
        told.send(()).unwrap();
        ended.await.unwrap();
    }
}
