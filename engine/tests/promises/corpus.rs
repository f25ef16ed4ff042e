//! The corpora of the fuzz targets, replayed: what was found once stays found.

use std::fs;
use std::path::PathBuf;

use super::picture::small_log;
use super::support::{Chance, contents};

#[path = "../../../fuzz/checks/derived.rs"]
mod derived;
#[path = "../../../fuzz/checks/model.rs"]
mod model;
#[path = "../../../fuzz/checks/recover.rs"]
mod recover;
#[path = "../../../fuzz/checks/reference.rs"]
mod reference;
#[path = "../../../fuzz/checks/segment.rs"]
mod segment;

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../fuzz/corpus/{target}"))
}

#[track_caller]
fn replay(target: &str, check: fn(&[u8])) {
    let mut count = 0;
    for entry in fs::read_dir(corpus(target)).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("{}", path.display());
        check(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 3, "{count} inputs");
}

#[test]
fn any_bytes_decode_or_are_refused() {
    replay("decode", strandlog_engine::fuzzing::decode);
}

#[test]
fn any_files_open_or_are_refused_twice_the_same() {
    replay("recover", recover::check);
}

#[test]
fn two_implementations_of_the_format_judge_a_tail_alike() {
    replay("segment", segment::check);
}

#[test]
fn a_derived_file_of_any_bytes_stops_nothing_and_forges_nothing() {
    replay("derived", derived::check);
}

#[test]
fn whatever_is_done_to_a_log_it_is_what_a_list_would_be() {
    replay("model", model::check);
}

/// With STRANDLOG_TEST_WRITE=1 the seeds of the corpora are written anew, from a small log.
#[test]
fn the_seeds_of_the_corpora_are_the_files_of_a_small_log() {
    if std::env::var_os("STRANDLOG_TEST_WRITE").is_none() {
        return;
    }
    let mut whole = Vec::new();
    let mut segments = Vec::new();
    for (name, bytes) in contents(&small_log()) {
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let bytes = &bytes[..used];
        fs::write(corpus("decode").join(&name), bytes).unwrap();
        if name.ends_with(".seg") {
            fs::write(
                corpus("decode").join(format!("{name}.batch")),
                &bytes[4_096..],
            )
            .unwrap();
            fs::write(
                corpus("decode").join(format!("{name}.record")),
                &bytes[4_144..],
            )
            .unwrap();
        }
        let number = match &name[18..] {
            "01.seg" => 0,
            "04.seg" => 1,
            "01.idx" => 2,
            "01.ckp" => 4,
            _ => 3,
        };
        let mut file = vec![number];
        file.extend_from_slice(&u16::try_from(used).unwrap().to_le_bytes());
        file.extend_from_slice(bytes);
        if number < 2 {
            segments.extend_from_slice(&file);
            fs::write(corpus("recover").join(&name), &file).unwrap();
        }
        whole.extend_from_slice(&file);
    }
    fs::write(corpus("recover").join("whole"), whole).unwrap();
    fs::write(corpus("recover").join("segments"), segments).unwrap();
    fs::write(corpus("recover").join("foreign"), [7, 0, 0]).unwrap();
    write_seeds_of_segments();
    write_seeds_of_derived_files();
    write_seeds_of_stories();
}

/// The used part of each segment, as it is and with checksums to be made right; and with batches
/// behind a hole.
fn write_seeds_of_segments() {
    for (name, bytes) in contents(&small_log()) {
        if name.ends_with(".tags") || name.ends_with(".idx") {
            continue;
        }
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let used = &bytes[4_096..used];
        let (front, back) = used.split_at(used.len().min(240));
        for (flags, holes) in [(8, 0), (11, 0), (12, 0), (11, 64), (9, 4_096)] {
            let mut input = vec![flags];
            input.extend_from_slice(&bytes[..64]);
            input.extend_from_slice(front);
            input.resize(input.len() + holes, 0);
            input.extend_from_slice(&back[..back.len().min(400)]);
            fs::write(
                corpus("segment").join(format!("{name}.{flags}.{holes}")),
                input,
            )
            .unwrap();
        }
    }
}

/// Each file as it is, without its end, and with a part of another one.
fn write_seeds_of_derived_files() {
    for (number, (name, bytes)) in (0_u8..).zip(derived::changed()) {
        for (flags, kept) in [(8, bytes.len()), (5, bytes.len() - 100), (15, 64)] {
            let mut input = vec![flags, number];
            input.extend_from_slice(&u16::try_from(kept).unwrap().to_le_bytes());
            let end = (kept + 300).min(bytes.len());
            input.extend_from_slice(&bytes[kept..end]);
            fs::write(corpus("derived").join(format!("{name}.{flags}")), input).unwrap();
        }
    }
}

fn write_seeds_of_stories() {
    for seed in 0..6 {
        let chance = Chance::new(seed);
        let len = 2 + 5 * (10 + seed * 15);
        let input: Vec<u8> = (0..len)
            .map(|_| u8::try_from(chance.below(256)).unwrap())
            .collect();
        fs::write(corpus("model").join(format!("chance-{seed}")), input).unwrap();
    }
}
