//! Files that are in the wrong place: of another log, under another name, or without the rest of
//! their log. Nothing of them is served or mended, and what is said names them.

use std::collections::BTreeSet;

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{OpenError, ReadError, describe_file, verify};

use super::repair::{broken, data_end, long, planned, repaired, truth};
use super::support::{contents, files, id, open};

/// What the refusal of an open says, and of which file.
fn refusal(disk: &SimDisk) -> (String, String) {
    match open(&disk.restart(), 3) {
        Err(OpenError::Damaged(damage)) => (damage.file, damage.what),
        other => panic!("{:?}", other.map(drop)),
    }
}

const ELSEWHERE: &str = "the file belongs to another log or another place";

#[test]
fn other_files_of_a_log_without_a_segment_are_left_and_said_so() {
    let truth = long();
    let gapped = broken(&truth, 0);
    repaired(&gapped, 4).unwrap();
    let name = files(&truth.disk, ".seg").remove(0);
    let mut kinds = Vec::new();
    for (disk, ending) in [
        (&truth.disk, ".idx"),
        (&truth.disk, ".tags"),
        (&truth.disk, ".ckp"),
        (&gapped, ".lost"),
    ] {
        let name = files(disk, ending).remove(0);
        kinds.push((name.clone(), disk.read_file(&name)));
        kinds.push((name, b"none".to_vec()));
    }
    kinds.push((format!("{name}.1.damaged"), b"put aside".to_vec()));
    for (file, bytes) in kinds {
        let disk = SimDisk::new();
        disk.write_file(&file, &bytes);
        let before = contents(&disk);
        let plan = planned(&disk);
        assert_eq!(plan.acts, [], "{file}");
        assert_eq!(plan.left.len(), 1, "{file}: {plan:?}");
        let what = "there are other files of a log, but no segment is left";
        assert_eq!(plan.left[0].what, what, "{file}");
        assert_eq!(before.get(&file), contents(&disk).get(&file));
        assert!(open(&disk, 3).is_err(), "{file}");
    }
    let plan = planned(&SimDisk::new());
    assert_eq!((plan.acts, plan.left), (Vec::new(), Vec::new()));
}

#[test]
fn a_segment_of_which_nothing_tells_its_log_is_left_and_said_so() {
    let name = files(&long().disk, ".seg").remove(0);
    for bytes in [vec![], vec![7; 100], vec![0; 16 << 10], vec![7; 16 << 10]] {
        let disk = SimDisk::new();
        disk.write_file(&name, &bytes);
        let plan = planned(&disk);
        assert_eq!(plan.acts, [], "{}", bytes.len());
        let what: Vec<_> = plan.left.iter().map(|damage| &damage.what).collect();
        assert_eq!(what, ["nothing is left that tells which log this is"]);
        assert_eq!(disk.read_file(&name), bytes);
    }
}

#[test]
fn the_only_file_of_a_log_keeps_its_id_though_its_header_is_damaged() {
    let truth = truth(&[&[40, 0], &[30]]);
    let disk = truth.copy();
    for ending in [".ckp", ".idx", ".tags"] {
        for file in files(&disk, ending) {
            disk.remove_file(&file);
        }
    }
    let file = files(&disk, ".seg").remove(0);
    let log_id = disk.read_file(&file)[16..32].to_vec();
    disk.flip_bit(&file, 41, 2);
    let report = repaired(&disk, 4).unwrap();
    assert!(report.is_done, "{:?}", report.plan);
    for file in files(&disk, ".seg") {
        assert_eq!(disk.read_file(&file)[16..32], log_id, "{file}");
    }
    let (log, _) = open(&disk, 5).unwrap();
    for event in 1..=3 {
        assert!(log.read(id(event)).unwrap().is_some());
    }
}

#[test]
fn a_segment_or_checkpoint_log_under_the_name_of_another_is_refused() {
    let truth = long();
    let (segments, checkpoints) = (files(&truth.disk, ".seg"), files(&truth.disk, ".ckp"));
    let tail = segments.last().unwrap();
    // The tail is another segment, or the checkpoint log.
    for from in [&segments[0], &checkpoints[0]] {
        let disk = truth.copy();
        disk.write_file(tail, &disk.read_file(from));
        assert_eq!(
            refusal(&disk),
            (tail.clone(), "the file belongs to another place".to_owned())
        );
    }
    // The checkpoint log is a segment, or has another number.
    let other = "00000000000000000077.ckp".to_owned();
    for (from, to) in [(tail, &checkpoints[0]), (&checkpoints[0], &other)] {
        let disk = truth.copy();
        disk.write_file(to, &disk.read_file(from));
        assert_eq!(refusal(&disk), (to.clone(), ELSEWHERE.to_owned()));
        assert_eq!(planned(&disk).left.len(), 1, "{to}");
    }
    // A sealed segment is the checkpoint log: what lies in it cannot be read, the rest can.
    let disk = truth.copy();
    disk.write_file(&segments[0], &disk.read_file(&checkpoints[0]));
    let plan = planned(&disk);
    assert_eq!((plan.acts.len(), plan.left.len()), (0, 1));
    assert_eq!(plan.left[0].file, segments[0]);
    let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
    assert!(
        report
            .damage
            .iter()
            .any(|damage| damage.file == segments[0])
    );
    let (log, _) = open(&disk, 3).unwrap();
    let refused = log.read(id(1)).unwrap_err();
    assert!(
        matches!(&refused, ReadError::Damaged(damage) if damage.what == ELSEWHERE),
        "{refused:?}"
    );
    assert!(log.read(id(truth.last())).is_ok());
}

#[test]
fn a_record_of_losses_of_another_log_or_place_is_refused() {
    let truth = long();
    let disk = broken(&truth, 0);
    repaired(&disk, 4).unwrap();
    let lost = files(&disk, ".lost").remove(0);
    let bytes = disk.read_file(&lost);
    let segments = files(&disk, ".seg");
    let names = segments.iter().map(|name| name.replace(".seg", ".lost"));
    let elsewhere = names.skip(1).find(|name| *name != lost).unwrap();
    let mut of_another_log = bytes.clone();
    of_another_log[20] ^= 1;
    let covered = of_another_log.len() - 4;
    let checksum = crc32fast::hash(&of_another_log[..covered]);
    of_another_log[covered..].copy_from_slice(&checksum.to_le_bytes());
    for (name, bytes) in [(&elsewhere, &bytes), (&lost, &of_another_log)] {
        let disk = disk.restart();
        disk.write_file(name, bytes);
        assert_eq!(refusal(&disk), (name.clone(), ELSEWHERE.to_owned()));
        // It is made again from its segment.
        repaired(&disk, 7).unwrap();
        open(&disk, 8).unwrap();
    }
}

#[test]
fn a_foreign_name_beside_a_log_is_left_where_it_is() {
    let truth = long();
    let disk = truth.copy();
    disk.write_file("notes.txt", b"not ours");
    let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(planned(&disk).acts, []);
    assert_eq!(truth.check(&disk), Ok(BTreeSet::new()));
    assert_eq!(disk.read_file("notes.txt"), b"not ours");
}

#[test]
fn a_repair_of_the_newest_segment_that_was_not_finished_is_said_and_finished() {
    let truth = long();
    let disk = truth.copy();
    let tail = files(&disk, ".seg").pop().unwrap();
    let lost = tail.replace(".seg", ".lost");
    disk.write_file(&lost, b"begun");
    let what = "a repair of the newest segment was not finished";
    assert_eq!(refusal(&disk), (lost.clone(), what.to_owned()));
    let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
    let mut damage = report.damage.iter();
    assert!(damage.any(|damage| damage.file == lost && damage.what == what));
    let report = repaired(&disk, 4).unwrap();
    assert!(report.is_done, "{:?}", report.plan);
    let (log, _) = open(&disk, 5).unwrap();
    for event in 1..=truth.last() {
        assert!(log.read(id(event)).unwrap().is_some(), "{event}");
    }
}

#[test]
fn a_record_of_losses_whose_segment_is_gone_says_nothing() {
    let truth = long();
    let disk = truth.copy();
    let name = "00000000000000000777.lost";
    disk.write_file(name, b"of a segment that is gone");
    let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(truth.check(&disk), Ok(BTreeSet::new()));
    assert!(!contents(&disk).contains_key(name));
}

#[test]
fn a_segment_cut_off_anywhere_is_described_up_to_there() {
    let truth = truth(&[&[40, 0], &[30]]);
    let name = files(&truth.disk, ".seg").remove(0);
    let whole = truth.disk.read_file(&name);
    let end = data_end(&whole);
    for is_damaged in [false, true] {
        for len in end - 130..end + 10 {
            let mut bytes = whole[..len].to_vec();
            if is_damaged {
                bytes[len - 60] ^= 1;
            }
            let disk = SimDisk::new();
            disk.write_file(&name, &bytes);
            let mut text = Vec::new();
            describe_file(&disk.root(), &name, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let offsets = text.lines().skip(1).filter_map(|line| {
                let number = line.split_whitespace().next()?;
                number.parse::<usize>().ok()
            });
            let offsets: Vec<usize> = offsets.collect();
            assert_eq!(offsets[0], 4_096, "{text}");
            assert!(
                offsets.is_sorted() && offsets.iter().all(|at| *at <= len),
                "{text}"
            );
        }
    }
}
