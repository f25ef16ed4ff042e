//! The end of a file that is written batch by batch: the log's tail, and the checkpoint log.
//!
//! ```text
//! header <= synced_to <= offset <= file length
//!
//! offset     behind the last batch that was written
//! synced_to  below it everything is known durable; each batch says so in its header
//! ```
//!
//! Knows the format and the file; nothing of ids beyond the next one, of readers or of waiting.

use std::io;
use std::sync::Arc;

use crate::format::batch::{self, BatchHeader, Chain, Mark};
use crate::format::names;
use crate::format::segment::{HEADER_LEN, Masks, SegmentHeader};
use crate::options::Options;
use crate::position::EventId;
use crate::storage::{Storage, StorageFile, write_all_at, zero_range};

/// Bytes at the end of every file that batches must leave free: a seal mark, and the marks that idle
/// times add before it.
pub(crate) const RESERVED_LEN: u64 = 4_096;

/// The one writer of a file's end.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) header: SegmentHeader,
    masks: Masks,
    salt: u32,
    /// Where the next batch goes, and what it follows.
    chain: Chain,
    /// The last batch said less about durability than is known now.
    unproven: bool,
    /// The file's name may not be on the disk.
    unnamed: bool,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<crate::Sabotage>,
}

impl Tail {
    /// Goes on behind `chain`, with a salt that no earlier open of the log had. `last` is what stands
    /// there, if it is a mark.
    pub(crate) fn new(
        file: Arc<dyn StorageFile>,
        header: SegmentHeader,
        chain: Chain,
        salt: u32,
        last: Option<Mark>,
    ) -> Self {
        // Recovery has synced a batch that nothing proves: the next idle second does.
        let unproven = last.is_none() && chain.offset > HEADER_LEN;
        Self {
            file,
            header,
            masks: header.masks(),
            salt,
            chain,
            unproven,
            unnamed: false,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// The masks of the file's records and batches.
    pub(crate) fn masks(&self) -> Masks {
        self.masks
    }

    /// What every record of this open carries.
    pub(crate) fn salt(&self) -> u32 {
        self.salt
    }

    /// Behind the last batch.
    pub(crate) fn offset(&self) -> u64 {
        self.chain.offset as u64
    }

    /// Notes that the file's name may not be on the disk, whatever a sync says: the one that was to
    /// prove it may have failed in an earlier process, and such a failure is told once. Nothing is
    /// written to such a file; a new one takes its place and its name.
    pub(crate) fn doubt_name(&mut self) {
        self.unnamed = true;
    }

    /// Whether the file has to be replaced before anything is written.
    pub(crate) fn is_unnamed(&self) -> bool {
        self.unnamed
    }

    /// The longest batch, header included, that still fits.
    pub(crate) fn room(&self) -> u64 {
        if self.unnamed {
            return 0;
        }
        room_in(self.file.len(), self.offset())
    }

    /// Whether there is room for a mark besides the seal. Only many opens without a single append
    /// use it up.
    pub(crate) fn room_for_mark(&self) -> bool {
        let marks_len = 2 * batch::HEADER_LEN as u64;
        !self.unnamed && self.offset() + marks_len <= self.file.len()
    }

    /// Whether everything written is durable.
    pub(crate) fn is_synced(&self) -> bool {
        self.chain.synced_to >= self.offset()
    }

    /// Whether a mark would prove more than the file does by itself.
    pub(crate) fn is_unproven(&self) -> bool {
        self.unproven
    }

    /// Writes a batch of records that carry the ids from `first` on. `records` are its bytes.
    ///
    /// # Errors
    ///
    /// An unknown part may have been written; nothing more may be.
    pub(crate) fn write(
        &mut self,
        first: EventId,
        record_count: u32,
        records: &[&[u8]],
    ) -> io::Result<()> {
        self.write_batch(first, record_count, Mark::Synced, records)?;
        self.unproven = true;
        Ok(())
    }

    /// Writes a mark: up to where the file is durable.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub(crate) fn mark(&mut self, next: EventId, mark: Mark) -> io::Result<()> {
        let is_proof = self.is_synced();
        self.write_batch(next, 0, mark, &[])?;
        if is_proof {
            self.unproven = false;
        }
        Ok(())
    }

    fn write_batch(
        &mut self,
        first: EventId,
        record_count: u32,
        mark: Mark,
        records: &[&[u8]],
    ) -> io::Result<()> {
        let records_len: usize = records.iter().map(|piece| piece.len()).sum();
        let len = batch::HEADER_LEN + records_len;
        let header = BatchHeader {
            len: u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?,
            record_count,
            mark,
            first,
            synced_to: self.chain.synced_to,
            salt: self.salt,
            previous: self.chain.previous,
        };
        let (bytes, checksum) = header.encode(self.masks);
        let mut pieces = Vec::with_capacity(records.len() + 1);
        pieces.push(bytes.as_slice());
        pieces.extend_from_slice(records);
        write_all_at(&*self.file, self.offset(), &pieces)?;
        self.chain.offset += len;
        self.chain.previous = checksum;
        Ok(())
    }

    /// Makes everything written durable.
    ///
    /// # Errors
    ///
    /// Nothing is known about what was written since the last sync; nothing more may be written.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::skips_sync(self) {
            self.chain.synced_to = self.offset();
            return Ok(());
        }
        self.file.sync()?;
        self.chain.synced_to = self.offset();
        Ok(())
    }
}

/// How long a batch may be at `offset` of a file of `file_len` bytes, header included.
fn room_in(file_len: u64, offset: u64) -> u64 {
    file_len.saturating_sub(offset).saturating_sub(RESERVED_LEN)
}

/// The longest batch, header included, that an empty segment of `segment_len` bytes takes.
pub(crate) fn batch_len_max(segment_len: u64) -> u64 {
    room_in(segment_len, HEADER_LEN as u64)
}

/// Creates the file of a segment under its temporary name, filled with zeros (FORMAT.md, section 3,
/// step 1). On an error the file is gone again.
///
/// Allocated space reads as zeros anyway. Writing them means that the syncs of appends need not wait
/// for the file system's journal, and that what is written after a failed sync gets to the disk: ext4
/// loses what goes to a block whose very first write has failed, however often it is written again.
pub(crate) fn prepare(
    storage: &Arc<dyn Storage>,
    options: &Options,
) -> io::Result<Arc<dyn StorageFile>> {
    let name = names::PREPARED;
    let len = options.segment_len;
    let file = match storage.create(name, len) {
        // Left by an attempt that could not even be cleared away.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            storage.remove(name)?;
            storage.create(name, len)?
        }
        created => created?,
    };
    let written = zero_range(&*file, 0, len).and_then(|()| file.sync());
    if let Err(error) = written {
        drop(file);
        // The first error is the one to report; the name is in the way of nobody.
        let _gone = storage.remove(name);
        return Err(error);
    }
    Ok(file)
}

/// Gives a prepared file its header and its name (FORMAT.md, section 3, step 2).
///
/// # Errors
///
/// Whether the file has its name is unknown.
pub(crate) fn name_segment(
    storage: &Arc<dyn Storage>,
    file: &Arc<dyn StorageFile>,
    header: &SegmentHeader,
    from: &str,
    to: &str,
) -> io::Result<()> {
    write_all_at(&**file, 0, &[&header.encode()])?;
    file.sync()?;
    storage.rename(from, to)?;
    storage.sync_names()
}

/// Makes a file ready to be written on behind the cut (FORMAT.md, section 7, "What recovery
/// writes"): the part without proof of sync again, zeros behind it, one sync.
///
/// # Errors
///
/// The file must not be written on.
pub(crate) fn settle(
    file: &dyn StorageFile,
    bytes: &[u8],
    chain: &mut Chain,
    dirty_end: usize,
) -> io::Result<()> {
    let proven = usize::try_from(chain.synced_to).unwrap_or(usize::MAX);
    let unproven = bytes.get(proven..chain.offset).unwrap_or_default();
    let must_zero = dirty_end > chain.offset;
    if unproven.is_empty() && !must_zero {
        return Ok(());
    }
    if !unproven.is_empty() {
        write_all_at(file, chain.synced_to, &[unproven])?;
    }
    if must_zero {
        zero_range(file, chain.offset as u64, dirty_end as u64)?;
    }
    file.sync()?;
    chain.synced_to = chain.offset as u64;
    Ok(())
}
