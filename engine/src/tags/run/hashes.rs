//! The hashes of all tags of a run that is being written.

use std::io;
use std::sync::Arc;

use super::SMALL;
use crate::storage::{Storage, StorageFile, read_exact_at, write_all_at};

/// How many hashes are kept in memory: 4 MiB of them. Few enough under test that every run spills.
const MEMORY_MAX: usize = if SMALL { 16 } else { 1 << 19 };
const HASH_LEN: usize = 8;

/// Keeps the hashes until their number is known, and with it the length of the filter.
///
/// A merge of a hundred million tags would need a gigabyte for them, so all but the last ones go to
/// a temporary file, which needs no sync: nobody reads it after a crash.
#[derive(Debug)]
pub(crate) struct Hashes {
    storage: Arc<dyn Storage>,
    name: String,
    recent: Vec<u64>,
    spilled: Option<Arc<dyn StorageFile>>,
    spilled_len: u64,
}

impl Hashes {
    pub(crate) fn new(storage: Arc<dyn Storage>, name: String) -> Self {
        Self {
            storage,
            name,
            recent: Vec::new(),
            spilled: None,
            spilled_len: 0,
        }
    }

    pub(crate) fn push(&mut self, hash: u64) -> io::Result<()> {
        if self.recent.len() == MEMORY_MAX {
            self.spill()?;
        }
        self.recent.push(hash);
        Ok(())
    }

    /// Calls `each` with every hash. Can be done again.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u64)) -> io::Result<()> {
        if let Some(file) = &self.spilled {
            let mut part = vec![0; 64 << 10];
            let mut offset = 0;
            while offset < self.spilled_len {
                let left = usize::try_from(self.spilled_len - offset).unwrap_or(usize::MAX);
                part.truncate(left);
                read_exact_at(file.as_ref(), offset, &mut part)?;
                offset += part.len() as u64;
                let (hashes, _) = part.as_chunks::<HASH_LEN>();
                hashes
                    .iter()
                    .for_each(|hash| each(u64::from_le_bytes(*hash)));
            }
        }
        self.recent.iter().for_each(|&hash| each(hash));
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        let file = match &self.spilled {
            Some(file) => file,
            None => {
                let file = self.storage.create(&self.name, 0)?;
                self.spilled.insert(file)
            }
        };
        let bytes: Vec<u8> = self.recent.iter().flat_map(|it| it.to_le_bytes()).collect();
        write_all_at(file.as_ref(), self.spilled_len, &[&bytes])?;
        self.spilled_len += bytes.len() as u64;
        self.recent.clear();
        Ok(())
    }
}

impl Drop for Hashes {
    fn drop(&mut self) {
        if self.spilled.is_some() {
            // What stays is removed with the other temporary files at the next start.
            let _ = self.storage.remove(&self.name);
        }
    }
}
