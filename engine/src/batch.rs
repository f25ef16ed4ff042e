//! What a publisher hands to the log: records that are stored all together or not at all.

use std::fmt;

use crate::format::record::{self, Draft, RECORD_LEN_MAX, TAG_LEN_MAX, TAGS_MAX};
use crate::options::Durability;
use crate::position::EventId;
use crate::tags::{Query, tag_hash};

/// A tag for a new record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// Its bytes, 1 to [`TAG_LEN_MAX`] of them.
    pub bytes: &'a [u8],
    /// The rank this tag must get with this record, or the whole batch is refused: 0 says that no
    /// record has carried the tag yet, N that exactly N have. Records earlier in the same batch
    /// count.
    pub expected_rank: Option<u64>,
}

impl<'a> Tag<'a> {
    /// A tag without an expectation.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            expected_rank: None,
        }
    }

    /// A tag that must get this rank.
    #[must_use]
    pub const fn expecting(bytes: &'a [u8], rank: u64) -> Self {
        Self {
            bytes,
            expected_rank: Some(rank),
        }
    }
}

/// A condition on the log as a whole: no record after `after` matches `query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Which records would be in the way.
    pub query: Query,
    /// The last id that may match; 0 if none may.
    pub after: u64,
}

/// Where a tag lies in a batch, and what the writer needs of it without looking at the bytes again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TagSlot {
    /// Where its bytes begin in the batch's buffer.
    pub(crate) start: u32,
    pub(crate) len: u16,
    pub(crate) hash: u64,
    pub(crate) expected_rank: Option<u64>,
}

/// Records that are stored contiguously, in this order, all or none, together with what must hold
/// for that.
///
/// Building a batch copies and checksums the bodies, on the thread of whoever builds it: that is the
/// expensive part of an append, and it is not the writer's.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) buffer: Vec<u8>,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) tags: Vec<TagSlot>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) durability: Option<Durability>,
}

/// Why a record cannot be part of a batch. The batch is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// A tag is empty or longer than [`TAG_LEN_MAX`].
    TagLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The record has more than [`TAGS_MAX`] tags.
    TagCount {
        /// How many it has.
        count: usize,
    },
    /// The record carries the same tag twice.
    TagTwice,
    /// The record is longer than [`RECORD_LEN_MAX`].
    TooLarge {
        /// Its length in bytes, everything included.
        len: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TagLength { len } => {
                write!(f, "a tag has {len} bytes, not 1 to {TAG_LEN_MAX}")
            }
            Self::TagCount { count } => {
                write!(f, "a record has {count} tags, more than {TAGS_MAX}")
            }
            Self::TagTwice => write!(f, "a record carries the same tag twice"),
            Self::TooLarge { len } => {
                write!(
                    f,
                    "a record of {len} bytes is over the limit of {RECORD_LEN_MAX}"
                )
            }
        }
    }
}

impl std::error::Error for BatchError {}

impl Batch {
    /// A batch without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch with room for `len` bytes of encoded records.
    #[must_use]
    pub fn with_capacity(len: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(len),
            ..Self::default()
        }
    }

    /// Adds a record. The first tag is the one whose rank the [`Receipt`] reports.
    ///
    /// `body` is the concatenation of its pieces; the log does not look into it.
    ///
    /// # Errors
    ///
    /// [`BatchError`]; the batch is as it was before.
    pub fn push(&mut self, tags: &[Tag<'_>], body: &[&[u8]]) -> Result<(), BatchError> {
        if tags.len() > TAGS_MAX {
            return Err(BatchError::TagCount { count: tags.len() });
        }
        for (index, tag) in tags.iter().enumerate() {
            if tag.bytes.is_empty() || tag.bytes.len() > TAG_LEN_MAX {
                return Err(BatchError::TagLength {
                    len: tag.bytes.len(),
                });
            }
            if tags
                .iter()
                .take(index)
                .any(|other| other.bytes == tag.bytes)
            {
                return Err(BatchError::TagTwice);
            }
        }
        let tags_len: usize = tags.iter().map(|tag| 2 + 8 + tag.bytes.len()).sum();
        let len = body
            .iter()
            .try_fold(0_usize, |sum, piece| sum.checked_add(piece.len()))
            .and_then(|body_len| body_len.checked_add(tags_len + record::RECORD_LEN_MIN + 8))
            .unwrap_or(usize::MAX);
        if len > RECORD_LEN_MAX || self.buffer.len() + len > BATCH_LEN_MAX {
            return Err(BatchError::TooLarge { len });
        }
        let draft = record::encode_draft(&mut self.buffer, tags.iter().map(|tag| tag.bytes), body);
        let mut start = draft.start + record::HEAD_LEN;
        for tag in tags {
            start += 2;
            self.tags.push(TagSlot {
                start: u32::try_from(start).unwrap_or(u32::MAX),
                len: u16::try_from(tag.bytes.len()).unwrap_or(u16::MAX),
                hash: tag_hash(tag.bytes),
                expected_rank: tag.expected_rank,
            });
            start += tag.bytes.len();
        }
        self.drafts.push(draft);
        Ok(())
    }

    /// Adds a condition that must hold at the moment the batch is stored.
    pub fn require(&mut self, condition: Condition) {
        self.conditions.push(condition);
    }

    /// Asks for another durability than the log's own.
    pub fn set_durability(&mut self, durability: Durability) {
        self.durability = Some(durability);
    }

    /// How many records the batch has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.drafts.len()
    }

    /// Whether the batch has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// How many bytes its encoded records take.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.buffer.len()
    }
}

/// The longest batch, in encoded bytes: offsets within it are 32 bits wide, and it must fit in a
/// segment; a log with small segments takes less.
pub const BATCH_LEN_MAX: usize = 48 << 20;

/// What became of a batch that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The id of its first record; the others follow without a gap.
    pub first_id: EventId,
    /// The id of its last record.
    pub last_id: EventId,
    /// For each record the rank of its first tag; 0 for a record without tags.
    pub first_tag_ranks: Vec<u64>,
    /// When the log took it, in microseconds since 1970 (UTC).
    pub recorded_at_us: u64,
    /// The last id known durable when the receipt was given; 0 if none. At least `last_id` under
    /// [`Durability::Sync`].
    pub durable_id: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_beyond_a_limit_is_refused_and_leaves_the_batch_as_it_was() {
        let long = vec![b'x'; TAG_LEN_MAX + 1];
        let names: Vec<String> = (0..=TAGS_MAX).map(|number| number.to_string()).collect();
        let many: Vec<Tag<'_>> = names.iter().map(|name| Tag::new(name.as_bytes())).collect();
        let body = vec![0; RECORD_LEN_MAX];
        let mut batch = Batch::new();
        batch.push(&[Tag::new(b"first")], &[b"body"]).unwrap();
        let before = batch.encoded_len();
        let tag = |len| BatchError::TagLength { len };
        type Refused<'a> = (&'a [Tag<'a>], &'a [&'a [u8]], BatchError);
        let refused: [Refused<'_>; 6] = [
            (&[Tag::new(b"")], &[], tag(0)),
            (&[Tag::new(&long)], &[], tag(TAG_LEN_MAX + 1)),
            (
                &[Tag::new(b"a"), Tag::new(b"b"), Tag::new(b"a")],
                &[],
                BatchError::TagTwice,
            ),
            (
                &many,
                &[],
                BatchError::TagCount {
                    count: TAGS_MAX + 1,
                },
            ),
            (
                &[],
                &[&body],
                BatchError::TooLarge {
                    len: RECORD_LEN_MAX + 40,
                },
            ),
            (
                &[],
                &[&body, &body],
                BatchError::TooLarge {
                    len: 2 * RECORD_LEN_MAX + 40,
                },
            ),
        ];
        for (tags, body, error) in refused {
            assert_eq!(batch.push(tags, body), Err(error));
            assert!(error.to_string().len() > 20, "{error}");
            assert_eq!((batch.len(), batch.encoded_len()), (1, before));
        }
        // What is just within the limits is taken; what no longer fits into the batch is not.
        batch.push(&many[..TAGS_MAX], &[]).unwrap();
        batch.push(&[Tag::new(&long[..TAG_LEN_MAX])], &[]).unwrap();
        batch.push(&[], &[&body[..RECORD_LEN_MAX - 40]]).unwrap();
        let rest = BATCH_LEN_MAX - batch.encoded_len() - 40;
        let full = batch.push(&[], &[&body[..rest + 1]]);
        assert_eq!(full, Err(BatchError::TooLarge { len: rest + 41 }));
        batch.push(&[], &[&body[..rest]]).unwrap();
        assert_eq!(batch.len(), 5);
    }
}
