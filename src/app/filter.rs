//! Which events: by stream, type and tags.

use super::name::{EventType, StreamName, TagLabel};

/// Lets an event through if its stream is one of `streams`, its type one of `types`, and it carries
/// all of `tags`; an empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Any of these streams.
    pub streams: Vec<StreamName<'static>>,
    /// Any of these types.
    pub types: Vec<EventType<'static>>,
    /// All of these tags.
    pub tags: Vec<TagLabel<'static>>,
}

impl Filter {
    /// Whether it lets every event through.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.types.is_empty() && self.tags.is_empty()
    }
}
