//! Why the tag index could not answer, or could not do its upkeep.

use std::fmt;
use std::io;

use super::Span;

/// Why a question got no answer, or a piece of upkeep did not happen.
///
/// None of these means "no such tag", and after each of them the index is as it was before.
#[derive(Debug)]
pub(crate) enum TagError {
    /// The index of these ids is not there. Rebuild it from the records of each segment that
    /// [`TagIndex::missing`](super::TagIndex::missing) names, hand it in with
    /// [`TagIndex::provide`](super::TagIndex::provide), and ask again.
    Missing {
        /// The ids of the first missing segment that the question depends on.
        span: Span,
    },
    /// Bytes of a run file fail their checksum or contradict each other. Call
    /// [`TagIndex::distrust`](super::TagIndex::distrust) with the file's name: it turns the file
    /// into missing segments.
    Damaged(TagDamage),
    /// The ranks that the records of one tag store are not consecutive, so that its neighbouring
    /// pieces cannot be merged. Both pieces are left as they are, and go on answering.
    RankGap {
        /// The ids of the later piece.
        span: Span,
        /// The rank it starts with.
        found: u64,
        /// The rank that follows the earlier piece.
        expected: u64,
    },
    /// The storage reported an error.
    Io(io::Error),
}

/// What is wrong with a run file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagDamage {
    /// The name of the file.
    pub file: String,
    /// Where the part begins that is wrong, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong with it.
    pub what: &'static str,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { span } => write!(
                f,
                "the tag index of the ids {} to {} has to be rebuilt",
                span.first,
                span.end.saturating_sub(1)
            ),
            Self::Damaged(damage) => damage.fmt(f),
            Self::RankGap {
                span,
                found,
                expected,
            } => write!(
                f,
                "a tag has rank {found} in the piece from id {} on, after rank {expected} was next",
                span.first
            ),
            Self::Io(_) => write!(f, "could not read or write the tag index"),
        }
    }
}

impl std::error::Error for TagError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Missing { .. } | Self::Damaged(_) | Self::RankGap { .. } => None,
        }
    }
}

impl From<io::Error> for TagError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for TagDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is damaged at byte {}: {}",
            self.file, self.offset, self.what
        )
    }
}
