//! Keeping the log of offsets short: what is in force at its front is carried to its end, and the
//! front goes.
//!
//! Each move owes two records of sweeping. A sweep goes on from where the last one ended, in runs
//! of [`RUN_LEN`]: a record that a later one of the same offset has overtaken is passed over, the
//! others are appended once more. Where half of the front is overtaken that keeps the log as long
//! as it is, so it settles at about twice as many records as there are offsets.
//!
//! A copy expects that its offset was kept no more often than the sweep has seen, so it never comes
//! after a move that it does not know. The front is removed when the copies are durable; a crash at
//! any point leaves either the record, or its copy, or both.
//!
//! Retention counts from the end of the log. It is in force only while nothing is being appended,
//! so that the end stays where the sweep has seen it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, RwLock};

use crate::store::{AppendError, Batch, Durability, EventId, Receipt, Retention};

use super::super::failure::{Code, Failure};
use super::super::limits::PAGE_LEN_MAX;
use super::super::range::Selection;
use super::super::{App, Log};
use super::{Newest, Offset, last_kept, not_an_offset, record};

/// How many records a move owes: one for its own, and one by which the log gets shorter.
const OWED: u64 = 2;
/// How many records are swept together: enough that their copies cost one write, few enough that
/// they are nothing in memory.
const RUN_LEN: u64 = 256;
/// The debt from which moves wait for the sweep: it has fallen behind.
const DEBT_MAX: u64 = 64 * RUN_LEN;
/// How many records are left alone. The log goes by whole segments of several thousand records, so
/// there is nothing to gain below.
const UNSWEPT_MIN: u64 = 4_096;
/// After how many swept records the front is removed: about a segment of them.
const REMOVAL_EVERY: u64 = 4_096;

/// How far the sweep has come, and what it owes.
#[derive(Debug, Default)]
pub(in super::super) struct Sweeper {
    /// In records.
    debt: AtomicU64,
    /// Held by whoever sweeps.
    progress: Mutex<Progress>,
    /// Held shared for each append, and alone while retention is in force.
    appends: RwLock<()>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Every record below is overtaken. Not kept over a restart, after which the front is swept
    /// again and found overtaken.
    swept: u64,
    since_removal: u64,
}

impl Sweeper {
    /// Waits for the sweep if it has fallen behind.
    pub(super) async fn keep_pace(&self) {
        if self.debt.load(Ordering::Relaxed) > DEBT_MAX {
            drop(self.progress.lock().await);
        }
    }

    /// Appends to the log of offsets. Must not be dropped before it resolves, for the append goes
    /// on.
    pub(super) async fn append(&self, log: &Log, batch: Batch) -> Result<Receipt, AppendError> {
        let _appending = self.appends.read().await;
        log.store.append(batch).await
    }
}

impl App {
    /// Notes a move, and begins to sweep if enough is owed and nobody does.
    pub(super) fn owe_sweep(&self, log: Log) {
        let debt = self.0.sweeper.debt.fetch_add(OWED, Ordering::Relaxed) + OWED;
        if debt >= RUN_LEN && self.0.sweeper.progress.try_lock().is_ok() {
            let app = self.clone();
            tokio::spawn(async move { app.sweep(&log).await });
        }
    }

    async fn sweep(&self, log: &Log) {
        let sweeper = &self.0.sweeper;
        let Ok(mut progress) = sweeper.progress.try_lock() else {
            return;
        };
        while sweeper.debt.load(Ordering::Relaxed) >= RUN_LEN && !self.is_stopping() {
            match self.sweep_run(log, &mut progress).await {
                Ok(true) => {
                    sweeper.debt.fetch_sub(RUN_LEN, Ordering::Relaxed);
                }
                Ok(false) => sweeper.debt.store(0, Ordering::Relaxed),
                Err(failure) => {
                    // The moves are safe, only the log stays longer. Those to come try again.
                    sweeper.debt.store(0, Ordering::Relaxed);
                    if !self.is_stopping() {
                        tracing::warn!(%failure, "the log of offsets could not be swept");
                    }
                }
            }
        }
    }

    /// Sweeps a run; false if there is nothing to gain.
    async fn sweep_run(&self, log: &Log, progress: &mut Progress) -> Result<bool, Failure> {
        let start = progress.swept.max(log.store.first().get());
        if log.store.end().get().saturating_sub(start) < UNSWEPT_MIN + RUN_LEN {
            return Ok(false);
        }
        let newest = newest_in(log, start, start + RUN_LEN).await?;
        self.carry_forward(log, newest).await?;
        progress.swept = start + RUN_LEN;
        progress.since_removal += RUN_LEN;
        if progress.since_removal >= REMOVAL_EVERY {
            self.remove_front(log, progress.swept).await?;
            progress.since_removal = 0;
        }
        Ok(true)
    }

    /// Appends once more what no later record has overtaken.
    async fn carry_forward(&self, log: &Log, newest: Newest) -> Result<(), Failure> {
        let mut in_force = Vec::new();
        for (tag, (id, body)) in newest {
            let end = log.store.tag_end(tag.clone()).await?;
            if let Some(end) = end
                && last_kept(log, &tag, end).await? == Some(id)
            {
                in_force.push((tag, end.count, body));
            }
        }
        while !in_force.is_empty() {
            let mut batch = Batch::new();
            for (tag, times, body) in &in_force {
                record::push(&mut batch, tag, *times, body)?;
            }
            batch.set_durability(Durability::Sync);
            let overtaken: HashSet<usize> = match self.0.sweeper.append(log, batch).await {
                Ok(_) => return Ok(()),
                Err(AppendError::Ranks(mismatches)) => {
                    mismatches.iter().map(|mismatch| mismatch.record).collect()
                }
                Err(error) => return Err(Failure::of_append(&error)),
            };
            if overtaken.is_empty() {
                return Err(Failure::new(
                    Code::Internal,
                    "the log refused ranks and named none",
                ));
            }
            let mut index = 0..;
            in_force.retain(|_| !index.next().is_some_and(|index| overtaken.contains(&index)));
        }
        Ok(())
    }

    /// Removes what lies wholly below `swept`.
    async fn remove_front(&self, log: &Log, swept: u64) -> Result<(), Failure> {
        let _alone = self.0.sweeper.appends.write().await;
        if log.store.durable_end() < log.store.end() {
            let made = log.store.make_durable().await;
            made.map_err(|error| Failure::of_append(&error))?;
        }
        let unswept = log.store.end().get().saturating_sub(swept);
        log.store.set_retention(Retention {
            records_max: Some(unswept),
            ..Retention::default()
        });
        let removed = log.store.expire_now().await;
        log.store.set_retention(Retention::default());
        // The store looks after retention at times of its own. If it has just begun to, by the rule
        // that was in force, this waits until it is through.
        let settled = log.store.expire_now().await;
        removed.and(settled)?;
        Ok(())
    }
}

/// The last record of each offset among the ids from `start` up to, and without, `end`.
async fn newest_in(log: &Log, start: u64, end: u64) -> Result<Newest, Failure> {
    let mut newest = Newest::new();
    let (Some(start), Some(end)) = (EventId::new(start), EventId::new(end)) else {
        return Ok(newest);
    };
    let run = Selection {
        from: Some(start),
        to: EventId::new(end.get() - 1),
        passes_losses: true,
        ..Selection::default()
    };
    let mut reading = log.read(run).await?;
    while let Some(records) = reading.next_page(PAGE_LEN_MAX).await? {
        for record in records.iter() {
            let record = record?;
            // What is not understood may be in force, so nothing goes past it.
            let Some((tag, times)) = record.tags().next() else {
                return Err(not_an_offset(record.id));
            };
            if Offset::decode(record.body, times + 1).is_none() {
                return Err(not_an_offset(record.id));
            }
            newest.insert(tag.to_vec(), (record.id, record.body.to_vec()));
        }
    }
    Ok(newest)
}
