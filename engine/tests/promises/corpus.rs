//! The corpora of the fuzz targets, replayed: what was found once stays found.

use std::fs;
use std::path::PathBuf;

use super::picture::small_log;
use super::support::contents;

#[path = "../../../fuzz/checks/recover.rs"]
mod recover;

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
}
