//! Plain counters, for whoever embeds the log. No behaviour depends on them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a log has done since it was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The counters behind [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.read(),)* }
            }
        }
    };
}

counters! {
    /// Batches of publishers that were stored.
    appends,
    /// Batches of publishers that were refused or failed.
    appends_refused,
    /// Records stored.
    records,
    /// Bytes of those records, everything included.
    record_bytes,
    /// Writes to the tail: each one carries whatever waited at that moment.
    commits,
    /// Syncs of the tail.
    syncs,
    /// Time spent in them, in microseconds of the log's clock.
    sync_time_us,
    /// Segments that were sealed.
    segments_sealed,
    /// Segments that retention removed.
    segments_expired,
    /// Pieces of the tag index that were written as runs.
    runs_written,
    /// Merges of such runs.
    runs_merged,
    /// Segments whose part of the tag index was rebuilt from their records.
    segments_reindexed,
    /// Rounds of upkeep that failed; they are tried again.
    upkeep_failures,
    /// Writes to the checkpoint log.
    checkpoint_commits,
}

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
