//! What the target `segment` checks: the engine and a slow second implementation of FORMAT.md come
//! to the same decision about the same bytes, and an open shows what they found.
//!
//! An input is a byte of flags, the first 64 bytes of the file, and what stands in it from offset
//! 4,096 on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strandlog_engine::fuzzing::{Chaining, Ended, Judgement, judge, right_checksums};
use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{Background, Clock, Direction, Entropy, Log, Options};

use super::reference;

/// Checksums are made right.
const REPAIRED: u8 = 1;
/// And so is the chain of batches.
const CHAINED: u8 = 2;
/// The file is not filled up with zeros.
const SHORT: u8 = 4;
/// The log is opened, too.
const OPENED: u8 = 8;

const LEN: usize = 16 << 10;

#[derive(Debug)]
struct Steady(AtomicU64);

impl Clock for Steady {
    fn now_us(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Entropy for Steady {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
    }
}

pub(crate) fn check(input: &[u8]) {
    let Some((flags, input)) = input.split_first() else {
        return;
    };
    let (head, rest) = input.split_at(input.len().min(64));
    let mut bytes = head.to_vec();
    bytes.resize(4_096, 0);
    bytes.extend_from_slice(rest);
    if flags & SHORT == 0 {
        bytes.resize(bytes.len().max(LEN), 0);
    }
    if flags & REPAIRED != 0 {
        let chaining = if flags & CHAINED != 0 {
            Chaining::Mended
        } else {
            Chaining::Kept
        };
        right_checksums(".seg", &mut bytes, chaining);
    }
    let judgement = judge(&bytes);
    assert_eq!(judgement, reference::judge(&bytes), "by the reference");
    if flags & OPENED != 0 {
        open(&bytes, &judgement);
    }
}

/// A log whose only segment this is.
fn open(bytes: &[u8], judgement: &Judgement) {
    let Some(first) = bytes
        .get(32..)
        .and_then(|rest| rest.first_chunk::<8>())
        .map(|first| u64::from_le_bytes(*first))
    else {
        return;
    };
    let disk = SimDisk::new();
    disk.write_file(&format!("{first:020}.seg"), bytes);
    let options = Options {
        segment_len: LEN as u64,
        background: Background::Inline,
        clock: Arc::new(Steady(AtomicU64::new(1))),
        entropy: Arc::new(Steady(AtomicU64::new(1))),
        ..Options::default()
    };
    let opened = Log::open(disk.root(), options);
    let Judgement::Ends(ended) = judgement else {
        assert!(opened.is_err(), "{judgement:?}");
        return;
    };
    // Whole, and yet perhaps no log: ids that no log has, ranks that contradict each other.
    let Ok((log, report)) = opened else {
        return;
    };
    assert_eq!(report.tail_records, ended.records.len() as u64);
    assert_eq!(
        report.dropped_len,
        (ended.dirty_end - ended.offset) as u64,
        "what was cut"
    );
    read(&log, ended);
}

fn read(log: &Log, ended: &Ended) {
    let ids = (log.first().get(), log.end().get());
    let first = ended.next_id - ended.records.len() as u64;
    assert_eq!(ids, (first, ended.next_id));
    let mut scan = log
        .scan(log.first()..log.end(), Direction::Forward)
        .expect("the range is that of the log");
    let mut found = 0;
    while let Some(records) = scan.next_records(7, 1 << 20).expect("it was just judged") {
        for record in records.iter() {
            let record = record.expect("its page is in memory");
            let want = &ended.records[found];
            assert_eq!((record.id.get(), record.body), (want.id, &want.body[..]));
            assert_eq!(record.recorded_at_us, want.recorded_at_us);
            let tags = record.tags().map(|(tag, rank)| (tag.to_vec(), rank));
            assert!(tags.eq(want.tags.iter().cloned()));
            found += 1;
        }
    }
    assert_eq!(found, ended.records.len());
}
