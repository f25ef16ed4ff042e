//! What both disks promise: every test here runs on the real one and on the simulated one.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::sim::SimDisk;
use super::*;

#[track_caller]
fn on_both(check: impl Fn(&dyn Storage)) {
    check(&*SimDisk::new().root());
    let directory = tempfile::tempdir().unwrap();
    check(&DiskStorage::open(directory.path()).unwrap());
}

#[track_caller]
fn fails<T: Debug>(result: io::Result<T>, kind: io::ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

fn content(file: &dyn StorageFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; usize::try_from(file.len()).unwrap()];
    read_exact_at(file, 0, &mut bytes).unwrap();
    assert_eq!(file.read_at(file.len(), &mut [0; 8]).unwrap(), 0);
    bytes
}

fn file_with(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    let file = storage.create(name, 0).unwrap();
    write_all_at(&*file, 0, &[bytes]).unwrap();
    file
}

fn names(storage: &dyn Storage) -> Vec<(String, EntryKind)> {
    let entries = storage.list().unwrap().into_iter();
    let mut names: Vec<_> = entries.map(|entry| (entry.name, entry.kind)).collect();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    names
}

#[test]
fn a_new_file_has_its_length_and_reads_as_zeros() {
    on_both(|storage| {
        for len in [0_usize, 1, 511, 4096, 10_000] {
            let file = storage.create(&len.to_string(), len as u64).unwrap();
            assert_eq!(content(&*file), vec![0; len]);
            assert_eq!(file.is_empty(), len == 0);
        }
    });
}

#[test]
fn a_name_is_given_once() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"old");
        fails(storage.create("a", 10), io::ErrorKind::AlreadyExists);
        fails(storage.create_directory("a"), io::ErrorKind::AlreadyExists);
        assert_eq!(content(&*file), b"old");
        storage.create_directory("d").unwrap();
        fails(storage.create("d", 0), io::ErrorKind::AlreadyExists);
        fails(storage.create_directory("d"), io::ErrorKind::AlreadyExists);
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    on_both(|storage| {
        fails(storage.open("a", Access::Read), io::ErrorKind::NotFound);
        fails(
            storage.open("a", Access::ReadWrite),
            io::ErrorKind::NotFound,
        );
        fails(storage.remove("a"), io::ErrorKind::NotFound);
        fails(storage.rename("a", "b"), io::ErrorKind::NotFound);
        fails(storage.directory("a"), io::ErrorKind::NotFound);
        assert_eq!(storage.list().unwrap(), []);
    });
}

#[test]
fn only_single_path_components_are_names() {
    on_both(|storage| {
        file_with(storage, "a", b"");
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a/b", "/a", "a/", "a\0b", &*long] {
            let refused = io::ErrorKind::InvalidInput;
            fails(storage.create(name, 0), refused);
            fails(storage.open(name, Access::Read), refused);
            fails(storage.rename("a", name), refused);
            fails(storage.rename(name, "a"), refused);
            fails(storage.remove(name), refused);
            fails(storage.directory(name), refused);
            fails(storage.create_directory(name), refused);
        }
        storage.create(&"x".repeat(255), 0).unwrap();
        storage.create("...", 0).unwrap();
    });
}

#[test]
fn a_directory_is_no_file_and_a_file_no_directory() {
    on_both(|storage| {
        file_with(storage, "f", b"");
        storage.create_directory("d").unwrap();
        fails(storage.open("d", Access::Read), io::ErrorKind::IsADirectory);
        fails(storage.remove("d"), io::ErrorKind::IsADirectory);
        fails(storage.directory("f"), io::ErrorKind::NotADirectory);
        fails(storage.rename("f", "d"), io::ErrorKind::IsADirectory);
        fails(storage.rename("d", "f"), io::ErrorKind::NotADirectory);
    });
}

#[test]
fn pieces_are_written_one_after_the_other_and_lengthen_the_file() {
    on_both(|storage| {
        let file = storage.create("a", 4).unwrap();
        let pieces = [&b"one"[..], b"", b"two", b"three"].map(IoSlice::new);
        assert_eq!(file.write_at(2, &pieces).unwrap(), 11);
        assert_eq!(file.len(), 13);
        assert_eq!(content(&*file), b"\0\0onetwothree");
        assert_eq!(file.write_at(20, &[]).unwrap(), 0);
        assert_eq!(file.len(), 13);
        write_all_at(&*file, 15, &[b"gap"]).unwrap();
        assert_eq!(content(&*file), b"\0\0onetwothree\0\0gap");
        let again = storage.open("a", Access::Read).unwrap();
        assert_eq!(content(&*again), content(&*file));
    });
}

#[test]
fn a_length_is_what_the_object_knows_of() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"12");
        let early = storage.open("a", Access::ReadWrite).unwrap();
        write_all_at(&*file, 2, &[b"345"]).unwrap();
        assert_eq!((file.len(), early.len()), (5, 2));
        assert_eq!(early.read_at(2, &mut [0; 8]).unwrap(), 3);
        write_all_at(&*early, 0, &[b"x"]).unwrap();
        assert_eq!(early.len(), 2);
        assert_eq!(storage.open("a", Access::Read).unwrap().len(), 5);
    });
}

#[test]
fn offsets_without_bytes_behind_them_read_as_the_end_and_cannot_be_written() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"bytes");
        for offset in [5, 6, 1 << 40, i64::MAX as u64, u64::MAX] {
            assert_eq!(file.read_at(offset, &mut [0; 4]).unwrap(), 0);
        }
        for offset in [i64::MAX as u64, u64::MAX] {
            file.write_at(offset, &[IoSlice::new(b"xy")]).unwrap_err();
            write_all_at(&*file, offset, &[b"xy"]).unwrap_err();
        }
        assert_eq!(content(&*file), b"bytes");
    });
}

#[test]
fn a_file_opened_for_reading_cannot_be_written() {
    on_both(|storage| {
        file_with(storage, "a", b"bytes");
        let file = storage.open("a", Access::Read).unwrap();
        let refused = file.write_at(0, &[IoSlice::new(b"x")]);
        fails(refused, io::ErrorKind::PermissionDenied);
        assert_eq!(content(&*file), b"bytes");
        file.freeze(3);
        assert_eq!(file.frozen().unwrap(), &b"byt"[..]);
    });
}

#[test]
fn the_frozen_part_is_written_no_more() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"0123456789");
        file.freeze(4);
        for offset in 0..4 {
            let refused = file.write_at(offset, &[IoSlice::new(b"xxxxxxxx")]);
            fails(refused, io::ErrorKind::InvalidInput);
        }
        assert_eq!(content(&*file), b"0123456789");
        write_all_at(&*file, 4, &[b"xx"]).unwrap();
        assert_eq!(content(&*file), b"0123xx6789");
        assert_eq!(file.frozen().unwrap(), &b"0123"[..]);
    });
}

#[test]
fn the_frozen_part_only_grows() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"0123456789");
        assert_eq!(file.frozen().unwrap(), &b""[..]);
        file.freeze(0);
        assert_eq!(file.frozen().unwrap(), &b""[..]);
        for (freeze, len) in [(4, 4), (2, 4), (4, 4), (10, 10), (9, 10)] {
            file.freeze(freeze);
            assert_eq!(file.frozen().unwrap(), b"0123456789"[..len]);
        }
    });
}

#[test]
fn the_frozen_part_follows_a_file_that_grows() {
    on_both(|storage| {
        let file = storage.create("a", 0).unwrap();
        assert_eq!(file.frozen().unwrap(), &b""[..]);
        let mut written = Vec::new();
        let mut handed_out = Vec::new();
        for round in 0..20_u8 {
            let piece = vec![round; 1000];
            write_all_at(&*file, written.len() as u64, &[&piece]).unwrap();
            written.extend_from_slice(&piece);
            file.freeze(written.len() as u64);
            let frozen = file.frozen().unwrap();
            assert_eq!(frozen, written);
            handed_out.push(frozen);
        }
        for frozen in handed_out {
            assert_eq!(frozen, written[..frozen.len()]);
        }
    });
}

#[test]
fn nothing_is_handed_out_beyond_the_end_of_the_file() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"0123456789");
        file.freeze(4);
        let early = file.frozen().unwrap();
        file.freeze(11);
        fails(file.frozen(), io::ErrorKind::UnexpectedEof);
        file.freeze(u64::MAX);
        file.frozen().unwrap_err();
        assert_eq!(early, &b"0123"[..]);

        let empty = storage.create("b", 0).unwrap();
        empty.freeze(1);
        fails(empty.frozen(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn frozen_bytes_outlive_the_file_and_its_name() {
    on_both(|storage| {
        let bytes = vec![7; 10_000];
        let file = file_with(storage, "a", &bytes);
        file.freeze(10_000);
        let frozen = file.frozen().unwrap();
        storage.remove("a").unwrap();
        storage.sync_names().unwrap();
        assert_eq!(content(&*file), bytes);
        drop(file);
        file_with(storage, "a", &[9; 10_000]);
        assert_eq!(frozen, bytes);
    });
}

#[test]
fn readers_of_the_frozen_part_never_see_a_byte_change() {
    on_both(|storage| {
        let file = storage.create("a", 1 << 16).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for at in 0..512_u64 {
                    write_all_at(&*file, at * 128, &[&[0xAA; 128]]).unwrap();
                    file.freeze((at + 1) * 128);
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while file.frozen().unwrap().len() < 1 << 16 {
                        assert!(file.frozen().unwrap().iter().all(|byte| *byte == 0xAA));
                    }
                });
            }
        });
    });
}

#[test]
fn freezing_waits_for_writes_below_and_shuts_out_later_ones() {
    const LEN: usize = 1 << 21;
    on_both(|storage| {
        for round in 0..10 {
            let file = storage.create(&round.to_string(), LEN as u64).unwrap();
            let (frozen, first) = std::thread::scope(|scope| {
                for byte in 1..=2_u8 {
                    let file = &file;
                    scope.spawn(move || {
                        let piece = vec![byte; LEN];
                        while file.write_at(0, &[IoSlice::new(&piece)]).is_ok() {}
                    });
                }
                let mut byte = [0];
                while byte == [0] {
                    read_exact_at(&*file, 0, &mut byte).unwrap();
                }
                file.freeze(LEN as u64);
                let frozen = file.frozen().unwrap();
                let first = frozen.to_vec();
                (frozen, first)
            });
            assert!(frozen == first, "round {round}");
        }
    });
}

#[test]
fn a_rename_replaces_and_readers_keep_what_they_have() {
    on_both(|storage| {
        let old = file_with(storage, "a", b"old");
        let new = file_with(storage, "b", b"newer");
        storage.rename("b", "a").unwrap();
        assert_eq!(names(storage), [("a".into(), EntryKind::File { len: 5 })]);
        assert_eq!(content(&*old), b"old");
        assert_eq!(content(&*new), b"newer");
        assert_eq!(
            content(&*storage.open("a", Access::Read).unwrap()),
            b"newer"
        );
        fails(storage.open("b", Access::Read), io::ErrorKind::NotFound);
        storage.rename("a", "a").unwrap();
        storage.rename("a", "c").unwrap();
        assert_eq!(
            content(&*storage.open("c", Access::Read).unwrap()),
            b"newer"
        );
    });
}

#[test]
fn a_directory_has_names_of_its_own() {
    on_both(|storage| {
        let inner = storage.create_directory("d").unwrap();
        file_with(&*inner, "a", b"inner");
        file_with(storage, "a", b"outer!");
        let inner = storage.directory("d").unwrap();
        assert_eq!(names(&*inner), [("a".into(), EntryKind::File { len: 5 })]);
        assert_eq!(
            names(storage),
            [
                ("a".into(), EntryKind::File { len: 6 }),
                ("d".into(), EntryKind::Directory),
            ]
        );
        storage.rename("d", "e").unwrap();
        assert_eq!(content(&*inner.open("a", Access::Read).unwrap()), b"inner");
        inner.sync_names().unwrap();
        storage.sync_names().unwrap();
    });
}

#[test]
fn a_directory_belongs_to_one_at_a_time() {
    on_both(|storage| {
        let inner = storage.create_directory("d").unwrap();
        let held = inner.lock().unwrap();
        fails(inner.lock(), io::ErrorKind::WouldBlock);
        fails(
            storage.directory("d").unwrap().lock(),
            io::ErrorKind::WouldBlock,
        );
        let outer = storage.lock().unwrap();
        drop(held);
        let held = inner.lock().unwrap();
        assert_eq!(
            names(&*inner),
            [(LOCK_NAME.into(), EntryKind::File { len: 0 })]
        );
        drop((held, outer));
    });
}

#[test]
fn syncing_works_for_readers_and_writers() {
    on_both(|storage| {
        let file = file_with(storage, "a", b"bytes");
        file.sync().unwrap();
        file.sync().unwrap();
        storage.open("a", Access::Read).unwrap().sync().unwrap();
        storage.sync_names().unwrap();
    });
}

#[test]
fn the_simulated_disk_does_what_the_real_one_does() {
    let sim = SimDisk::new().root();
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskStorage::open(directory.path()).unwrap();
    let on_both = |call: &dyn Fn(&dyn Storage) -> io::Result<Vec<u8>>| {
        let real = call(&disk).map_err(|error| error.kind());
        assert_eq!(call(&*sim).map_err(|error| error.kind()), real);
    };

    let mut state = 1_u64;
    let mut below = |end: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % end
    };
    for _ in 0..3000 {
        let [name, other] =
            [(); 2].map(|()| ["a", "b", "c", "d"][usize::try_from(below(4)).unwrap()]);
        let (offset, len) = (below(2000), below(2000));
        match below(8) {
            0 => on_both(&|s| s.create(name, len).map(|file| content(&*file))),
            1 => on_both(&|s| s.remove(name).map(|()| Vec::new())),
            2 => on_both(&|s| s.rename(name, other).map(|()| Vec::new())),
            3..6 => {
                let byte = u8::try_from(below(256)).unwrap();
                let bytes = vec![byte; usize::try_from(len).unwrap()];
                on_both(&|s| {
                    let file = s.open(name, Access::ReadWrite)?;
                    write_all_at(&*file, offset, &[&bytes, b"end"])?;
                    file.sync()?;
                    file.freeze(offset);
                    Ok(file.frozen()?.to_vec())
                });
            }
            6 => on_both(&|s| Ok(content(&*s.open(name, Access::Read)?))),
            _ => assert_eq!(names(&*sim), names(&disk)),
        }
    }
}
