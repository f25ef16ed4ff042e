//! A log as text, and checked byte by byte: what people see when something is wrong.

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{Batch, Checkpoint, Tag, describe_file, verify};

use super::support::{append, contents, files, id, open};

/// A small log with each kind of file.
pub(crate) fn small_log() -> SimDisk {
    let disk = SimDisk::new();
    let (log, _) = open(&disk, 1).unwrap();
    append(&log, "stream a", &[b"hello", b""]).unwrap();
    let mut batch = Batch::new();
    let tags = [Tag::new(b"stream b"), Tag::new(b"\x00\xff key")];
    batch.push(&tags, &[b"world"]).unwrap();
    log.append(batch).wait().unwrap();
    append(&log, "stream a", &[&[b'x'; 7_900]]).unwrap();
    let checkpoint = Checkpoint {
        position: 3,
        definition: b"of consumer".to_vec().into(),
    };
    log.create_checkpoint("consumer", checkpoint)
        .wait()
        .unwrap();
    log.advance_checkpoint("consumer", 4).wait().unwrap();
    log.upkeep_now();
    append(&log, "stream b", &[b"the last"]).unwrap();
    log.close().unwrap();
    // The next segment was made ready; the next open would remove it.
    disk.remove_file("prepared.tmp");
    disk
}

fn describe(disk: &SimDisk) -> String {
    let mut text = Vec::new();
    for (name, _) in contents(disk) {
        text.extend_from_slice(format!("{name}\n").as_bytes());
        describe_file(&disk.root(), &name, &mut text).unwrap();
        text.push(b'\n');
    }
    String::from_utf8(text).unwrap()
}

/// Compares with a text kept beside the tests; with STRANDLOG_TEST_WRITE=1 it is written anew.
#[track_caller]
fn check_text(name: &str, text: &str) {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("STRANDLOG_TEST_WRITE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap();
    assert!(text == want, "{path} says\n{want}\nand it is\n{text}");
}

#[test]
fn a_sound_log_looks_like_this() {
    check_text("sound.txt", &describe(&small_log()));
}

#[test]
fn a_damaged_log_looks_like_this() {
    let disk = small_log();
    let segments = files(&disk, ".seg");
    // A record, a batch header, bytes behind the end, an index, a run.
    disk.flip_bit(&segments[0], 4_096 + 48 + 12, 1);
    disk.flip_bit(&segments[0], 4_272, 1);
    disk.corrupt(&segments[1], 16_000, |_| 7);
    disk.flip_bit(&files(&disk, ".idx")[0], 20, 1);
    disk.flip_bit(&files(&disk, ".tags")[0], 90, 1);
    let mut text = describe(&disk);
    text.push_str("verify\n");
    let report = verify(&disk.root(), &mut |_, _| {}).unwrap();
    for damage in report.damage.iter().chain(&report.derived) {
        text.push_str(&format!("{damage}\n"));
    }
    text.push_str(&format!(
        "{} records whole, {} bytes torn\n",
        report.records, report.torn_len
    ));
    check_text("damaged.txt", &text);
}

#[test]
fn verify_finds_a_sound_log_sound_and_changes_nothing() {
    let disk = small_log();
    let before = contents(&disk);
    let mut told = Vec::new();
    let report = verify(&disk.root(), &mut |done, of| told.push((done, of))).unwrap();
    assert_eq!((report.damage, report.derived), (vec![], vec![]));
    assert_eq!(
        (report.segments, report.records, report.torn_len),
        (2, 5, 0)
    );
    assert_eq!((report.first, report.last), (Some(id(1)), Some(id(5))));
    let bytes: usize = before.values().map(Vec::len).sum();
    assert_eq!(report.bytes, bytes as u64);
    assert_eq!(told.last(), Some(&(bytes as u64, bytes as u64)));
    assert!(told.is_sorted());
    assert_eq!(contents(&disk), before);
}

#[test]
fn verify_finds_every_flipped_bit_of_the_used_part_of_every_file() {
    let sound = small_log();
    for (name, bytes) in contents(&sound) {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let is_tail = name == files(&sound, ".seg")[1] || name.ends_with(".ckp");
        // The mark of a clean stop is the last thing in a tail: without it nothing is lost.
        let used = used - if is_tail { 48 } else { 0 };
        for bit in (0..used as u64 * 8).step_by(101) {
            let disk = sound.restart();
            disk.flip_bit(&name, bit / 8, u32::try_from(bit % 8).unwrap());
            let found = match verify(&disk.root(), &mut |_, _| {}) {
                Ok(report) => report.damage.iter().chain(&report.derived).count(),
                Err(_) => 1,
            };
            // Padding between the parts of a run is covered by nothing, and means nothing.
            let is_padding =
                name.ends_with(".tags") && bytes[usize::try_from(bit / 8).unwrap()] == 0;
            assert!(found > 0 || is_padding, "{name}, bit {bit}");
        }
    }
}

#[test]
fn what_is_no_file_of_a_log_is_not_described() {
    let disk = small_log();
    for name in ["lock", "notes.txt", "prepared.tmp"] {
        let error = describe_file(&disk.root(), name, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
    let missing = describe_file(&disk.root(), "00000000000000000009.seg", &mut Vec::new());
    assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
