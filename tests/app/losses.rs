//! What a repair has recorded as lost of the server's own logs: they are read past it, an offset goes
//! back rather than forward, and the log of offsets is kept short as before.

use strandlog::app::name::StreamName;
use strandlog::app::offsets::{Moved, OffsetKey, OffsetMove};
use strandlog::app::range::Selection;
use strandlog::app::{App, Code, Log};
use strandlog::clock::HandClock;
use strandlog::store::embedded::EmbeddedStore;
use strandlog::store::{Direction, LogName};
use strandlog_engine::Options;
use strandlog_engine::storage::sim::SimDisk;

use crate::offsets::{key, small};
use crate::{NOON_US, event, id, ids, open, publish};

async fn opened(disk: &SimDisk) -> App {
    let clock = HandClock::at(NOON_US);
    let store = EmbeddedStore::open_on(&disk.root(), small(&clock)).unwrap();
    open(&store, &clock).await
}

/// The log is closed, one bit of each of these records is flipped, and it is repaired.
async fn lose(disk: &SimDisk, app: App, log: &LogName, lost: &[u64]) -> App {
    app.close().await;
    drop(app);
    for number in lost {
        let (path, offset) = place_of(disk, log, *number);
        disk.flip_bit(&path, offset + 30, 0);
    }
    let logs = disk.root().directory("logs").unwrap();
    let storage = logs.directory(log.as_str()).unwrap();
    let report =
        strandlog_engine::repair(storage, &Options::default(), &mut |_| true, &mut |_, _| ());
    let report = report.unwrap();
    assert!(report.is_done && report.plan.left.is_empty(), "{report:?}");
    opened(disk).await
}

/// The segment in which a record lies, and where: by the lengths that are written there.
fn place_of(disk: &SimDisk, log: &LogName, number: u64) -> (String, u64) {
    let directory = format!("logs/{log}/");
    let mut segments = disk.paths();
    segments.retain(|path| path.starts_with(&directory) && path.ends_with(".seg"));
    let first = |path: &str| -> u64 { path[directory.len()..][..20].parse().unwrap() };
    segments.retain(|path| first(path) <= number);
    let path = segments.into_iter().max().unwrap();
    let bytes = disk.read_file(&path);
    let word = |at: usize| {
        let word = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        usize::try_from(word).unwrap()
    };
    let (mut next, mut batch) = (first(&path), 4_096);
    loop {
        let mut record = batch + 48;
        for _ in 0..word(batch + 8) {
            if next == number {
                return (path, record as u64);
            }
            record += word(record);
            next += 1;
        }
        batch += word(batch + 4);
    }
}

async fn go(app: &App, key: &OffsetKey<'_>, to: u64) {
    let from = app.offset(key).await.unwrap();
    let step = OffsetMove {
        from,
        to,
        last: None,
    };
    let outcome = app.move_offset(key, step).await;
    assert!(matches!(outcome, Ok(Moved::Done(_))), "{outcome:?}");
}

async fn at(app: &App, key: &OffsetKey<'_>) -> u64 {
    let offset = app.offset(key).await.unwrap();
    offset.map_or(0, |offset| offset.count)
}

/// With `more` moves of another offset behind those that are lost.
async fn goes_back(more: u64) {
    let disk = SimDisk::new();
    let app = opened(&disk).await;
    let [a, b, c, other] = [1, 2, 3, 4].map(|consumer| key("s", consumer, "t"));
    for (key, to) in [
        (&a, 10),
        (&b, 1),
        (&a, 20),
        (&c, 5),
        (&a, 30),
        (&a, 40),
        (&b, 2),
    ] {
        go(&app, key, to).await;
    }
    for to in 1..=more {
        go(&app, &other, to).await;
    }
    let app = lose(&disk, app, &LogName::offsets(), &[4, 5, 6]).await;
    assert_eq!(at(&app, &a).await, 20);
    assert_eq!(at(&app, &b).await, 2);
    // Nothing is left of it: everything is done again.
    assert_eq!(at(&app, &c).await, 0);
    assert_eq!(at(&app, &other).await, more);
    let listed = app.offsets(None, None, 10).await.unwrap();
    let kept = listed.iter().map(|(_, offset)| offset.count);
    let kept: Vec<u64> = kept.filter(|count| *count > 0 && *count != more).collect();
    assert_eq!(kept, [20, 2]);
    // They move on from there, and stay where they are moved to.
    go(&app, &a, 21).await;
    go(&app, &c, 1).await;
    app.close().await;
    drop(app);
    let app = opened(&disk).await;
    assert_eq!((at(&app, &a).await, at(&app, &c).await), (21, 1));
}

#[tokio::test]
async fn an_offset_whose_last_moves_are_lost_is_where_it_was_before_them() {
    // In a segment that was still written to nothing is known of what is lost.
    goes_back(0).await;
    // Of a sealed one the index knows whose moves they were.
    goes_back(1_000).await;
}

#[tokio::test]
async fn the_log_of_offsets_is_swept_past_a_loss() {
    let disk = SimDisk::new();
    let app = opened(&disk).await;
    let (quiet, lost, busy) = (key("s", 1, "t"), key("s", 2, "t"), key("s", 3, "t"));
    go(&app, &quiet, 7).await;
    go(&app, &lost, 8).await;
    go(&app, &lost, 9).await;
    go(&app, &busy, 1).await;
    let app = lose(&disk, app, &LogName::offsets(), &[3]).await;
    let mut to = 1;
    // What is swept goes by whole segments, when some thousands of records have been.
    for _ in 0..14_000 {
        to += 1;
        go(&app, &busy, to).await;
    }
    app.close().await;
    drop(app);
    let app = opened(&disk).await;
    let log = app.own_log(LogName::offsets()).await.unwrap();
    assert!(log.describe().state.first > id(4), "the front is gone");
    assert_eq!(at(&app, &quiet).await, 7);
    assert_eq!(at(&app, &lost).await, 8);
    assert_eq!(at(&app, &busy).await, to);
}

async fn got(log: &Log, selection: Selection) -> Result<Vec<u64>, Code> {
    let mut reading = log.read(selection).await.map_err(|failure| failure.code)?;
    let mut got = Vec::new();
    loop {
        match reading.next_page(1 << 10).await {
            Ok(Some(records)) => got.extend(records.iter().map(|record| record.unwrap().id.get())),
            Ok(None) => return Ok(got),
            Err(failure) => return Err(failure.code),
        }
    }
}

#[tokio::test]
async fn a_log_is_read_past_its_losses_only_by_who_says_so() {
    let disk = SimDisk::new();
    let app = opened(&disk).await;
    let name = LogName::dead_letters();
    let log = app.own_log(name.clone()).await.unwrap();
    for number in 1..=9 {
        let stream = if number % 2 == 0 { "even" } else { "odd" };
        publish(&log, [event(stream, "t")]).await.unwrap();
    }
    drop(log);
    let app = lose(&disk, app, &name, &[1, 4, 5]).await;
    let log = app.own_log(name).await.unwrap();
    let passing = Selection {
        passes_losses: true,
        ..Selection::default()
    };
    let backward = Selection {
        direction: Direction::Backward,
        ..passing.clone()
    };
    assert_eq!(got(&log, passing.clone()).await, Ok(vec![2, 3, 6, 7, 8, 9]));
    assert_eq!(got(&log, backward).await, Ok(vec![9, 8, 7, 6, 3, 2]));
    let mut even = passing.clone();
    even.filter.streams = vec![StreamName::new("even").unwrap()];
    assert_eq!(got(&log, even).await, Ok(vec![2, 6, 8]));
    assert_eq!(got(&log, Selection::default()).await, Err(Code::Damaged));
    let to_the_loss = Selection {
        limit: Some(2),
        ..passing
    };
    let mut reading = log.read(to_the_loss).await.unwrap();
    while reading.next_page(1 << 10).await.unwrap().is_some() {}
    assert_eq!(reading.next_id().await.unwrap(), Some(id(6)));
    assert_eq!(
        ids(log
            .read(Selection {
                from: Some(id(6)),
                ..Selection::default()
            })
            .await
            .unwrap())
        .await,
        [6, 7, 8, 9]
    );
}
