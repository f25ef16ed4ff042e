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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::EventId;

    fn checkpoint(definition: &[u8]) -> Checkpoint {
        Checkpoint {
            position: 1 << 40,
            definition: Bytes::copy_from_slice(definition),
        }
    }

    /// A change as its record, whose body may be changed before it is checksummed.
    fn record(
        name: &str,
        checkpoint: Option<&Checkpoint>,
        change: impl Fn(&mut Vec<u8>),
    ) -> Vec<u8> {
        let mut drafted = Vec::new();
        let draft = encode_change(&mut drafted, name, checkpoint);
        let definition_len = checkpoint.map_or(0, |checkpoint| checkpoint.definition.len());
        let body_len = CHANGE_HEAD_LEN + name.len() + definition_len;
        let start = draft.start + record::HEAD_LEN;
        let mut body = drafted[start..start + body_len].to_vec();
        change(&mut body);
        let mut bytes = Vec::new();
        let draft = record::encode_draft(&mut bytes, std::iter::empty(), &[&body]);
        draft.finish(&mut bytes, std::iter::empty(), EventId::FIRST, 0, 0, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Option<(String, Option<Checkpoint>)> {
        read_change(&record::decode(bytes, 0).unwrap().0)
    }

    #[test]
    fn a_change_reads_back_as_it_was_written() {
        for definition in [&b""[..], b"of consumer", &[0; 300]] {
            let checkpoint = checkpoint(definition);
            let bytes = record("name", Some(&checkpoint), |_| ());
            assert_eq!(read(&bytes), Some(("name".to_owned(), Some(checkpoint))));
        }
        let removed = record("name", None, |_| ());
        assert_eq!(read(&removed), Some(("name".to_owned(), None)));
    }

    #[test]
    fn what_says_something_else_or_more_or_less_is_no_change() {
        let checkpoint = checkpoint(b"definition");
        let wrong: [fn(&mut Vec<u8>); 6] = [
            |body| body[0] = 0,
            |body| body[0] = 3,
            |body| body.push(0),
            |body| body.truncate(body.len() - 1),
            |body| body[2] = 200,
            |body| body[CHANGE_HEAD_LEN] = 0xff,
        ];
        for (at, change) in wrong.into_iter().enumerate() {
            assert_eq!(
                read(&record("name", Some(&checkpoint), change)),
                None,
                "{at}"
            );
        }
        // The byte behind the kind is reserved.
        assert!(read(&record("name", Some(&checkpoint), |body| body[1] = 9)).is_some());
    }

    #[test]
    fn the_room_that_is_counted_for_changes_is_enough_and_hardly_more() {
        let mut entries = Vec::new();
        let mut records_len = 0;
        let checkpoints: Vec<_> = (0..20).map(|len| checkpoint(&vec![7; len])).collect();
        for at in &checkpoints {
            for entry in [("n", Some(at)), ("name", Some(at)), ("gone", None)] {
                let mut buffer = Vec::new();
                let len = encode_change(&mut buffer, entry.0, entry.1).len;
                assert!((len..=len + 8).contains(&record_len(&entry)), "{entry:?}");
                records_len += record_len(&entry);
                entries.push(entry);
            }
        }
        // A header for a batch that is full and for one that is not, and one for the mark.
        assert_eq!(encoded_len(&entries), records_len + 2 * batch::HEADER_LEN);
        let long = checkpoint(&vec![7; 3 * COMPACTED_BATCH_LEN]);
        let entry = ("long", Some(&long));
        let want = record_len(&entry) + 5 * batch::HEADER_LEN;
        assert_eq!(encoded_len(&[entry]), want);
    }
}
