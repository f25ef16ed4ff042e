//! A success reply means durable and readable: it survives the loss of power at any step.

use strandlog_engine::storage::sim::SimDisk;

use super::support::{
    Act, Chance, Story, append, bodies, event, left, open, play, reopen, script, setting,
};

/// After a power cut the log goes on: it takes more, and that survives the next cut, too.
fn goes_on(disk: &SimDisk, seed: u64, mut story: Story) -> Result<(), String> {
    let log = reopen(disk, seed, &mut story)?;
    for number in 0..3 {
        story.append(&log, &[event(90_000_000 + number, 700), event(7, 20)])?;
    }
    story.act(&log, &Act::Advance(1))?;
    story.check(&log)?;
    // No close: the power goes.
    reopen(
        &disk.after_crash(left(4 + seed % 4, seed)),
        seed + 1,
        &mut story,
    )
    .map(drop)
    .map_err(|error| format!("after going on: {error}"))
}

/// Plays the script, cuts the power at each step, and compares what is left with what was
/// acknowledged; gives the number of cuts, or the first one that lost something.
fn cut_everywhere(seed: u64, rounds: u64, prepare: fn(&SimDisk)) -> Result<u64, String> {
    let acts = script(seed, rounds);
    let calm = SimDisk::with_seed(seed);
    prepare(&calm);
    let mut story = Story::default();
    play(&calm, 1, &mut story, &acts);
    assert_eq!(story.acknowledged, story.last(), "nothing fails in peace");
    assert!(
        !super::support::files(&calm, ".1.tags").is_empty(),
        "merged"
    );

    let leftovers = setting("STRANDLOG_TEST_LEFTOVERS", 3);
    let mut cuts = 0;
    for step in 0..calm.steps() {
        let disk = SimDisk::with_seed(seed);
        prepare(&disk);
        disk.crash_at(step);
        let mut story = Story::default();
        play(&disk, 1, &mut story, &acts);
        for index in 0..leftovers {
            // The plain ones in turn, chance always.
            let kind = if index == 0 { step % 4 } else { 3 + index };
            let left = left(kind, step);
            let after = disk.after_crash(left);
            goes_on(&after, step + 2, story.clone()).map_err(|error| {
                let call = disk.calls().get(usize::try_from(step).unwrap()).cloned();
                format!("script {seed}, step {step} ({call:?}), left {left:?}: {error}")
            })?;
            cuts += 1;
        }
    }
    Ok(cuts)
}

#[test]
fn everything_is_there_after_a_clean_stop() {
    let disk = SimDisk::new();
    let mut story = Story::default();
    play(&disk, 1, &mut story, &script(1, 60));
    let (log, report) = open(&disk, 2).unwrap();
    assert!(report.clean);
    // Only the mark of the clean stop itself has no proof behind it.
    assert_eq!((report.dropped_len, report.rewritten_len), (0, 48));
    story.check(&log).unwrap();
}

#[test]
fn what_was_acknowledged_survives_a_power_cut_at_any_step() {
    let cuts = cut_everywhere(1, 48, |_| {}).unwrap_or_else(|error| panic!("{error}"));
    assert!(cuts > 1_000, "{cuts}");
}

#[test]
fn a_disk_that_lies_about_syncs_is_noticed() {
    let outcome = cut_everywhere(1, 48, |disk| disk.syncs_lie(true));
    assert!(outcome.is_err(), "these tests could not fail");
}

#[test]
fn a_disk_that_lies_about_syncs_of_names_is_noticed() {
    let outcome = cut_everywhere(1, 48, |disk| disk.name_syncs_lie(true));
    assert!(outcome.is_err(), "these tests could not fail");
}

/// Cuts the power during recovery, `depth` times in a row.
fn cut_recovery(disk: &SimDisk, chance: &Chance, depth: u64, story: &Story) -> Result<(), String> {
    let calm = disk.after_crash(left(1, 0));
    let opened = open(&calm, 7);
    let steps = calm.steps();
    opened.map_err(|error| format!("depth {depth}: {error:?}"))?;
    let again = disk.after_crash(left(1, 0));
    let step = chance.below(steps);
    again.crash_at(step);
    let _cut = open(&again, chance.below(1 << 40));
    let kind = chance.below(6);
    let after = again.after_crash(left(kind, chance.below(1 << 40)));
    let found = match depth {
        0 | 1 => goes_on(&after, chance.below(1 << 40), story.clone()),
        _ => cut_recovery(&after, chance, depth - 1, story),
    };
    found.map_err(|error| format!("depth {depth}, step {step}, kind {kind}: {error}"))
}

#[test]
fn what_was_acknowledged_survives_power_cuts_during_recovery() {
    let acts = script(3, 30);
    let calm = SimDisk::new();
    play(&calm, 1, &mut Story::default(), &acts);
    for seed in 0..setting("STRANDLOG_TEST_RECOVERY_CUTS", 300) {
        let chance = Chance::new(seed);
        let disk = SimDisk::with_seed(seed);
        disk.crash_at(chance.below(calm.steps()));
        let mut story = Story::default();
        play(&disk, 1, &mut story, &acts);
        let disk = disk.after_crash(left(chance.below(8), seed));
        cut_recovery(&disk, &chance, 1 + seed % 3, &story)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// The process is killed, not the machine, and the power goes later: the page cache of the first
/// process must not be taken for the disk.
#[test]
fn what_was_acknowledged_survives_a_kill_and_then_a_power_cut() {
    let acts = script(5, 30);
    let calm = SimDisk::new();
    play(&calm, 1, &mut Story::default(), &acts);
    for step in 0..calm.steps() {
        let killed = SimDisk::with_seed(step);
        killed.crash_at(step);
        let mut story = Story::default();
        play(&killed, 1, &mut story, &acts);
        let next = killed.restart();
        // The next process is cut while it opens, or soon after.
        next.crash_at(Chance::new(step).below(40));
        let cut = reopen(&next, step + 2, &mut story.clone());
        if let Ok(log) = cut {
            story.settle(&log);
            let _outcome = story.append(&log, &[event(90_000_000, 30)]);
            let _outcome = story.act(&log, &Act::Advance(0));
        }
        for kind in [0, 4, 5] {
            let after = next.after_crash(left(kind, step));
            goes_on(&after, step + 3, story.clone())
                .unwrap_or_else(|error| panic!("step {step}, kind {kind}: {error}"));
        }
    }
}

#[test]
fn an_acknowledged_record_is_readable_at_once() {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    for number in 0..100_u64 {
        let body = number.to_le_bytes();
        let receipt = append(&log, "s", &[&body]).unwrap();
        assert!(receipt.durable_id >= receipt.last_id.get());
        let records = log.read(receipt.last_id).unwrap().unwrap();
        assert_eq!(records.get(0).unwrap().body, body);
        assert_eq!(bodies(&log).len() as u64, number + 1);
    }
}
