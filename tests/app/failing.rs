//! What fails is said as it is, and what was stored stays readable: on a disk that fails on demand.

use strandlog::app::range::Selection;
use strandlog::app::{App, Code, FailureKind, Log};
use strandlog::clock::HandClock;
use strandlog::store::embedded::EmbeddedStore;
use strandlog::store::{EventId, Health};
use strandlog_engine::storage::sim::{Fault, Left, Repeat, SimDisk};

use crate::{NOON_US, event, fill, open, options, publish, read};

async fn opened(disk: &SimDisk) -> (App, Log) {
    let clock = HandClock::at(NOON_US);
    let store = EmbeddedStore::open_on(&disk.root(), options(&clock)).unwrap();
    let app = open(&store, &clock).await;
    let log = app.log("default").unwrap();
    (app, log)
}

#[tokio::test]
async fn a_failed_write_is_of_unknown_outcome_and_the_log_refuses_until_it_is_opened_again() {
    let disk = SimDisk::new();
    let (app, log) = opened(&disk).await;
    fill(&log, "a", 10).await;
    disk.fail_at(disk.steps(), Fault::Eio, Repeat::FromThenOn);
    let unknown = publish(&log, [event("a", "t")]).await.unwrap_err();
    assert_eq!(unknown.code, Code::OutcomeUnknown);
    assert!(!unknown.changed_nothing());
    disk.heal();
    let refused = publish(&log, [event("a", "t")]).await.unwrap_err();
    assert_eq!(refused.code, Code::LogFailed);
    assert!(refused.changed_nothing());
    assert_eq!(read(&log, Selection::default()).await.len(), 10);
    let unhealthy = app.unhealthy();
    assert!(matches!(
        unhealthy.as_slice(),
        [(name, Health::Failed(_))] if name.as_str() == "default"
    ));
    app.close().await;
    drop((app, log));

    let (_app, log) = opened(&disk.restart()).await;
    fill(&log, "a", 1).await;
    assert!(log.last_id() > 10);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_recovers_without_a_restart() {
    let disk = SimDisk::new();
    let (_app, log) = opened(&disk).await;
    fill(&log, "a", 10).await;
    disk.capacity(disk.used());
    let refused = loop {
        let events = (0..100).map(|_| event("a", "t"));
        if let Err(refused) = publish(&log, events).await {
            break refused;
        }
    };
    assert_eq!(refused.code, Code::DiskFull);
    assert_eq!(refused.kind(), FailureKind::Full);
    assert!(refused.changed_nothing());
    let stored = log.last_id();
    assert_eq!(
        read(&log, Selection::default()).await.last().copied(),
        Some(stored)
    );
    disk.capacity(u64::MAX);
    publish(&log, (0..100).map(|_| event("a", "t")))
        .await
        .unwrap();
    assert_eq!(log.last_id(), stored + 100);
}

#[tokio::test]
async fn damage_is_named_and_the_rest_of_the_log_is_served() {
    let disk = SimDisk::new();
    let (_app, log) = opened(&disk).await;
    fill(&log, "a", 2_000).await;
    let first = disk
        .paths()
        .into_iter()
        .filter(|path| path.starts_with("logs/default/") && path.ends_with(".seg"))
        .min()
        .unwrap();
    disk.flip_bit(&first, 10_000, 3);
    let mut reading = log.read(Selection::default()).await.unwrap();
    let mut given = 0;
    let failure = loop {
        match reading.next_page(1 << 10).await {
            Ok(records) => given += records.unwrap().len(),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.code, Code::Damaged);
    assert!(given < 2_000);
    let behind = Selection {
        from: EventId::new(1_500),
        ..Selection::default()
    };
    assert_eq!(read(&log, behind).await.len(), 501);
}

#[test]
fn a_start_whose_power_goes_at_any_step_is_taken_up_again() {
    let clock = HandClock::at(NOON_US);
    let start = |disk: &SimDisk| EmbeddedStore::open_on(&disk.root(), options(&clock));
    let peaceful = SimDisk::new();
    start(&peaceful).unwrap();
    for step in 0..peaceful.steps() {
        let disk = SimDisk::new();
        disk.crash_at(step);
        drop(start(&disk));
        let left = disk.after_crash(Left::Random(step));
        let again = start(&left);
        assert!(again.is_ok(), "step {step}: {again:?}");
    }
}

#[test]
fn a_first_start_on_a_disk_that_fails_at_any_step_ends_in_one_line_and_can_be_repeated() {
    let clock = HandClock::at(NOON_US);
    let start = |disk: &SimDisk| EmbeddedStore::open_on(&disk.root(), options(&clock));
    let peaceful = SimDisk::new();
    start(&peaceful).unwrap();
    for step in 0..peaceful.steps() {
        let disk = SimDisk::new();
        disk.fail_at(step, Fault::Eio, Repeat::Once);
        if let Err(error) = start(&disk) {
            assert_eq!(error.to_string().lines().count(), 1, "step {step}");
        }
        let again = start(&disk.restart());
        assert!(again.is_ok(), "step {step}: {again:?}");
    }
}
