//! Where reads run: on the async worker, or on a thread that may block.
//!
//! A read of mapped memory blocks when its page is not in memory, and nobody can tell beforehand. A
//! blocked worker delays every connection it serves, so whatever may lie on the disk goes to a
//! blocking thread, a bounded number at a time. What was written a moment ago is in memory: reads
//! near the end, which are those of consumers that keep up, stay on the worker and save the two
//! thread switches, which would cost more than the read.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::super::ReadError;

/// A bounded number of blocking reads at a time.
#[derive(Clone, Debug)]
pub(super) struct Blocking(Arc<Semaphore>);

impl Blocking {
    pub(super) fn new(at_a_time_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_a_time_max)))
    }

    /// Runs `work` on a blocking thread. If the future is dropped meanwhile, the work ends by
    /// itself and keeps its place until then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let permit = Arc::clone(&self.0)
            .acquire_owned()
            .await
            .map_err(|_closed| lost("the server is stopping"))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        // A task fails by panicking or by being cancelled when the runtime ends.
        done.await
            .unwrap_or_else(|failed| Err(lost(&failed.to_string())))
    }
}

fn lost(why: &str) -> ReadError {
    ReadError::from(std::io::Error::other(format!("a read did not end: {why}")))
}
