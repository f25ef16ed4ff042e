//! A success reply means durable and readable.

use strandlog_engine::storage::sim::{Left, SimDisk};

use super::support::{append, bodies, open};

/// Appends until the disk gives up; the bodies that were acknowledged, and all that were tried.
fn work(disk: &SimDisk, seed: u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut tried = Vec::new();
    let mut acknowledged = Vec::new();
    let Ok((log, _)) = open(disk, seed) else {
        return (acknowledged, tried);
    };
    for round in 0..40_u32 {
        let count = round % 4 + 1;
        let batch: Vec<Vec<u8>> = (0..count)
            .map(|n| {
                let mut body = format!("{round}/{n} ").into_bytes();
                body.resize(body.len() + (round as usize * 37) % 600, b'x');
                body
            })
            .collect();
        let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        tried.extend(batch.iter().cloned());
        match append(&log, "s", &slices) {
            Ok(_) => acknowledged.extend(batch),
            Err(_) => break,
        }
    }
    let _closed = log.close();
    (acknowledged, tried)
}

#[test]
fn everything_is_there_after_a_clean_stop() {
    let disk = SimDisk::new();
    let (acknowledged, _) = work(&disk, 1);
    let (log, report) = open(&disk, 2).unwrap();
    assert!(report.clean);
    assert_eq!(bodies(&log), acknowledged);
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_step() {
    let calm = SimDisk::new();
    work(&calm, 1);
    for step in 0..calm.steps() {
        for left in [
            Left::Nothing,
            Left::All,
            Left::FirstHalf,
            Left::EveryOther,
            Left::Random(step),
            Left::Random(step + 10_000),
        ] {
            let disk = SimDisk::new();
            disk.crash_at(step);
            let (acknowledged, tried) = work(&disk, 1);
            let after = disk.after_crash(left);
            let (log, _) = open(&after, 2)
                .unwrap_or_else(|error| panic!("step {step}, left {left:?}: {error:?}"));
            let found = bodies(&log);
            assert!(
                found.len() >= acknowledged.len() && tried.starts_with(&found),
                "step {step}, left {left:?}: {} acknowledged, {} found",
                acknowledged.len(),
                found.len()
            );
        }
    }
}
