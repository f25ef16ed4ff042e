//! One change of a checkpoint as a record (FORMAT.md, section 10).

use bytes::Bytes;

use super::Checkpoint;
use crate::cursor::Cursor;
use crate::format::batch;
use crate::format::record::{self, Draft, Record};

/// A name and what it stands for; `None` if it stands for nothing any more.
pub(super) type Entry<'a> = (&'a str, Option<&'a Checkpoint>);

/// How many bytes of changes one batch of a compacted file holds.
pub(super) const COMPACTED_BATCH_LEN: usize = 1 << 20;

const CHANGE_HEAD_LEN: usize = 16;
const SET: u8 = 1;
const REMOVED: u8 = 2;

pub(super) fn encode_change(
    buffer: &mut Vec<u8>,
    name: &str,
    checkpoint: Option<&Checkpoint>,
) -> Draft {
    let (what, position, definition) = match checkpoint {
        Some(checkpoint) => (SET, checkpoint.position, &checkpoint.definition[..]),
        None => (REMOVED, 0, &[][..]),
    };
    let mut head = Vec::with_capacity(CHANGE_HEAD_LEN);
    head.extend_from_slice(&[what, 0]);
    head.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
    head.extend_from_slice(
        &u32::try_from(definition.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    head.extend_from_slice(&position.to_le_bytes());
    record::encode_draft(
        buffer,
        std::iter::empty(),
        &[&head, name.as_bytes(), definition],
    )
}

pub(super) fn read_change(record: &Record<'_>) -> Option<(String, Option<Checkpoint>)> {
    let mut cursor = Cursor::new(record.body);
    let what = cursor.take_u8()?;
    let _reserved = cursor.take_u8()?;
    let name_len = cursor.take_u16()?;
    let definition_len = cursor.take_u32()?;
    let position = cursor.take_u64()?;
    let name = str::from_utf8(cursor.take(usize::from(name_len))?).ok()?;
    let definition = cursor.take(definition_len as usize)?;
    if !cursor.rest().is_empty() {
        return None;
    }
    match what {
        SET => Some((
            name.to_owned(),
            Some(Checkpoint {
                position,
                definition: Bytes::copy_from_slice(definition),
            }),
        )),
        REMOVED => Some((name.to_owned(), None)),
        _ => None,
    }
}

/// An upper bound of what one entry takes.
pub(super) fn record_len((name, checkpoint): &Entry<'_>) -> usize {
    let definition_len = checkpoint.map_or(0, |checkpoint| checkpoint.definition.len());
    record::RECORD_LEN_MIN + CHANGE_HEAD_LEN + name.len() + definition_len + 8
}

/// An upper bound of what the entries take, batch headers included.
pub(super) fn encoded_len(entries: &[Entry<'_>]) -> usize {
    let records: usize = entries.iter().map(record_len).sum();
    records + batch::HEADER_LEN * (2 + records / COMPACTED_BATCH_LEN)
}
