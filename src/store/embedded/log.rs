//! One log of the engine, as the layers above see it.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::Bytes;
use strandlog_engine::{Log, RawScan, Scan};

use super::super::{
    AppendError, Batch, Checkpoint, CheckpointError, Durability, EventId, Health, KnownTag,
    LogCounts, LogState, LogStore, Pages, Pending, RawPieces, ReadError, ReadRange, Receipt,
    Records, Retention, TagEnd,
};
use super::blocking::Blocking;

/// An open log of the engine.
#[derive(Clone, Debug)]
pub(super) struct EmbeddedLog {
    pub(super) log: Log,
    pub(super) blocking: Blocking,
    pub(super) durability: Durability,
    pub(super) near_end_ids: u64,
}

impl EmbeddedLog {
    /// Whether what begins at `id` was written lately enough to be in memory.
    fn is_near_end(&self, id: EventId) -> bool {
        self.log.end().get().saturating_sub(id.get()) <= self.near_end_ids
    }

    /// Runs `read` with the log on a blocking thread.
    fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Log) -> Result<T, ReadError> + Send + 'static,
    ) -> Pending<'_, Result<T, ReadError>> {
        let log = self.log.clone();
        Box::pin(self.blocking.run(move || read(&log)))
    }

    /// Runs `read` here if it is `near` the end, else like [`blocking`](Self::blocking).
    fn near_or_blocking<T: Send + 'static>(
        &self,
        near: bool,
        read: impl FnOnce(&Log) -> Result<T, ReadError> + Send + 'static,
    ) -> Pending<'_, Result<T, ReadError>> {
        if near {
            let done = read(&self.log);
            Box::pin(async move { done })
        } else {
            self.blocking(read)
        }
    }
}

impl LogStore for EmbeddedLog {
    fn append(&self, batch: Batch) -> Pending<'static, Result<Receipt, AppendError>> {
        Box::pin(self.log.append(batch))
    }

    fn first(&self) -> EventId {
        self.log.first()
    }

    fn end(&self) -> EventId {
        self.log.end()
    }

    fn durable_end(&self) -> EventId {
        self.log.durable_end()
    }

    fn end_moved(&self, seen: EventId) -> Pending<'static, EventId> {
        Box::pin(self.log.end_moved(seen))
    }

    fn read(&self, id: EventId) -> Pending<'_, Result<Option<Records>, ReadError>> {
        self.near_or_blocking(self.is_near_end(id), move |log| log.read(id))
    }

    fn read_range(&self, range: ReadRange) -> Pending<'_, Result<Box<dyn Pages>, ReadError>> {
        let near = self.is_near_end(range.ids.start);
        let blocking = self.blocking.clone();
        self.near_or_blocking(near, move |log| {
            let ReadRange {
                ids,
                query,
                direction,
            } = range;
            let scan = match query {
                None => log.scan(ids, direction)?,
                Some(query) => log.query(&query, ids, direction)?,
            };
            let pages: Box<dyn Pages> = Box::new(EmbeddedPages {
                scan: Some(scan),
                near,
                blocking,
            });
            Ok(pages)
        })
    }

    fn read_raw(&self, ids: Range<EventId>) -> Pending<'_, Result<Box<dyn RawPieces>, ReadError>> {
        let near = self.is_near_end(ids.start);
        let blocking = self.blocking.clone();
        self.near_or_blocking(near, move |log| {
            let pieces: Box<dyn RawPieces> = Box::new(EmbeddedRaw {
                scan: Some(log.raw(ids)?),
                near,
                blocking,
            });
            Ok(pieces)
        })
    }

    fn tag_end(&self, tag: Vec<u8>) -> Pending<'_, Result<Option<TagEnd>, ReadError>> {
        // To ask of what was published a moment ago, as expectations and owners do, must not cost
        // two thread switches.
        match self.log.tag_end_in_memory(&tag) {
            Some(end) => Box::pin(std::future::ready(Ok(end))),
            None => self.blocking(move |log| log.tag_end(&tag)),
        }
    }

    fn tag_end_in_memory(&self, tag: &[u8]) -> Option<Option<TagEnd>> {
        self.log.tag_end_in_memory(tag)
    }

    fn id_at_rank(
        &self,
        tag: Vec<u8>,
        rank: u64,
    ) -> Pending<'_, Result<Option<EventId>, ReadError>> {
        self.blocking(move |log| log.id_at_rank(&tag, rank))
    }

    fn tags(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Pending<'_, Result<Vec<KnownTag>, ReadError>> {
        self.blocking(move |log| log.tags(&prefix, after.as_deref(), limit))
    }

    fn id_at_time(&self, recorded_at_us: u64) -> Pending<'_, Result<EventId, ReadError>> {
        self.blocking(move |log| log.id_at_time(recorded_at_us))
    }

    fn checkpoint(&self, name: &str) -> Pending<'_, Result<Option<Checkpoint>, CheckpointError>> {
        let found = self.log.checkpoint(name);
        Box::pin(async move { Ok(found) })
    }

    fn checkpoint_names(&self) -> Pending<'_, Result<Vec<String>, CheckpointError>> {
        let mut names = self.log.checkpoint_names();
        names.sort_unstable();
        Box::pin(async move { Ok(names) })
    }

    fn create_checkpoint(
        &self,
        name: &str,
        checkpoint: Checkpoint,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>> {
        Box::pin(self.log.create_checkpoint(name, checkpoint))
    }

    fn advance_checkpoint(
        &self,
        name: &str,
        position: u64,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>> {
        Box::pin(self.log.advance_checkpoint(name, position))
    }

    fn seek_checkpoint(
        &self,
        name: &str,
        position: u64,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>> {
        Box::pin(self.log.seek_checkpoint(name, position))
    }

    fn remove_checkpoint(
        &self,
        name: &str,
    ) -> Pending<'static, Result<Checkpoint, CheckpointError>> {
        Box::pin(self.log.remove_checkpoint(name))
    }

    fn set_retention(&self, retention: Retention) {
        self.log.set_retention(retention);
    }

    fn make_durable(&self) -> Pending<'_, Result<(), AppendError>> {
        let log = self.log.clone();
        Box::pin(async move {
            // Not one of the bounded reads: it waits for the writer, not for a page.
            tokio::task::spawn_blocking(move || log.flush())
                .await
                .unwrap_or_else(|failed| Err(AppendError::Unknown(failed.to_string().into())))
        })
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    fn expire_now(&self) -> Pending<'_, Result<(), ReadError>> {
        self.blocking(|log| Ok(log.expire_now()?))
    }

    fn losses(&self) -> Vec<RangeInclusive<EventId>> {
        self.log.losses()
    }

    fn state(&self) -> LogState {
        let description = self.log.describe();
        let stats = self.log.stats();
        LogState {
            first: description.first,
            end: description.end,
            durable_end: description.durable_end,
            bytes: description.bytes,
            segments: Some(description.segments),
            retention: description.retention,
            health: description.health,
            counts: LogCounts {
                appends: stats.appends,
                appends_refused: stats.appends_refused,
                records: stats.records,
                record_bytes: stats.record_bytes,
                commits: stats.commits,
                syncs: stats.syncs,
                sync_time_us: stats.sync_time_us,
            },
        }
    }

    fn health(&self) -> Health {
        self.log.health()
    }
}

/// A read in progress. The scan is away while a page is read on another thread, and does not come
/// back from a read that was given up.
#[derive(Debug)]
struct EmbeddedPages {
    scan: Option<Scan>,
    near: bool,
    blocking: Blocking,
}

impl Pages for EmbeddedPages {
    fn next_page(
        &mut self,
        records_max: usize,
        bytes_max: usize,
    ) -> Pending<'_, Result<Option<Records>, ReadError>> {
        Box::pin(async move {
            let mut scan = self.scan.take().ok_or_else(given_up)?;
            let (page, scan) = if self.near {
                (scan.next_records(records_max, bytes_max)?, scan)
            } else {
                self.blocking
                    .run(move || {
                        let page = scan.next_records(records_max, bytes_max)?;
                        Ok((page, scan))
                    })
                    .await?
            };
            self.scan = Some(scan);
            Ok(page)
        })
    }
}

/// A raw read in progress.
#[derive(Debug)]
struct EmbeddedRaw {
    scan: Option<RawScan>,
    near: bool,
    blocking: Blocking,
}

impl RawPieces for EmbeddedRaw {
    fn next_piece(
        &mut self,
        bytes_max: usize,
    ) -> Pending<'_, Result<Option<Vec<Bytes>>, ReadError>> {
        Box::pin(async move {
            let mut scan = self.scan.take().ok_or_else(given_up)?;
            let (piece, scan) = if self.near {
                (scan.next_piece(bytes_max)?, scan)
            } else {
                self.blocking
                    .run(move || {
                        let piece = scan.next_piece(bytes_max)?;
                        Ok((piece, scan))
                    })
                    .await?
            };
            self.scan = Some(scan);
            Ok(piece)
        })
    }
}

fn given_up() -> ReadError {
    ReadError::Io(Arc::new(std::io::Error::other(
        "an earlier step of this read was given up or failed",
    )))
}
