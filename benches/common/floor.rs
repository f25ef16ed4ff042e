//! What the machine can do without an engine: writing and syncing.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a file before writing starts over.
const FILE_LEN: u64 = 256 << 20;
/// The block in which a disk takes bytes best.
pub(crate) const BLOCK_LEN: usize = 1 << 20;

/// Where a floor writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Behind the end of a file, which grows.
    Growing,
    /// Into a file whose bytes have all been written and synced before.
    Prewritten,
}

/// One file, written from front to back.
#[derive(Debug)]
pub(crate) struct WriteFloor {
    file: File,
    place: Place,
    offset: u64,
    block: Vec<u8>,
}

impl WriteFloor {
    /// A file in `dir`, to be written in blocks of `block_len` bytes.
    pub(crate) fn new(dir: &Path, place: Place, block_len: usize) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(dir.join(format!("floor-{place:?}-{block_len}")))
            .unwrap();
        let block = (0..block_len).map(|at| ((at * 31) >> 3) as u8).collect();
        if place == Place::Prewritten {
            let zeros = vec![0; BLOCK_LEN];
            for at in (0..FILE_LEN).step_by(BLOCK_LEN) {
                file.write_all_at(&zeros, at).unwrap();
            }
            file.sync_data().unwrap();
        }
        Self {
            file,
            place,
            offset: 0,
            block,
        }
    }

    /// Writes `count` blocks, each followed by a sync if `synced`; how long that took.
    pub(crate) fn write(&mut self, count: u64, synced: bool) -> Duration {
        let mut spent = Duration::ZERO;
        let mut left = count;
        while left > 0 {
            let room = (FILE_LEN - self.offset) / self.block.len() as u64;
            if room == 0 {
                self.start_over();
                continue;
            }
            let turn = left.min(room);
            let started = Instant::now();
            for _ in 0..turn {
                self.file.write_all_at(&self.block, self.offset).unwrap();
                self.offset += self.block.len() as u64;
                if synced {
                    self.file.sync_data().unwrap();
                }
            }
            spent += started.elapsed();
            left -= turn;
        }
        spent
    }

    fn start_over(&mut self) {
        self.offset = 0;
        if self.place == Place::Growing {
            self.file.set_len(0).unwrap();
            self.file.sync_data().unwrap();
        }
    }
}

/// Copies memory, block by block.
#[derive(Debug)]
pub(crate) struct CopyFloor {
    to: Vec<u8>,
}

impl CopyFloor {
    pub(crate) fn new() -> Self {
        Self {
            to: vec![0; BLOCK_LEN],
        }
    }

    /// Copies every byte of `from` once.
    pub(crate) fn copy(&mut self, from: &[u8]) {
        for block in from.chunks(BLOCK_LEN) {
            self.to[..block.len()].copy_from_slice(block);
            std::hint::black_box(&mut self.to);
        }
    }
}
