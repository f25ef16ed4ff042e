//! A consumer's definition as it is kept with its checkpoint: a small JSON object.

use serde::{Deserialize, Serialize};

use super::super::failure::{Code, Failure};
use super::super::filter::Filter;
use super::super::name::{EventType, StreamName, TagLabel};
use super::{ConsumerDefinition, Start};

/// The version of what is kept.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    streams: Vec<StreamName<'static>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<EventType<'static>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<TagLabel<'static>>,
    start: Start,
}

/// An id as a number.
pub(super) mod id {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::store::EventId;

    pub(in super::super) fn serialize<S: Serializer>(
        id: &EventId,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(id.get())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<EventId, D::Error> {
        let number = u64::deserialize(from)?;
        EventId::new(number).ok_or_else(|| D::Error::custom("a number that is no id"))
    }
}

impl ConsumerDefinition {
    /// Whether the two give the same events; order and repetition of names do not count.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        fn sorted<T: Clone + Ord>(names: &[T]) -> Vec<T> {
            let mut names = names.to_vec();
            names.sort_unstable();
            names.dedup();
            names
        }
        let (ours, theirs) = (&self.filter, &other.filter);
        self.start == other.start
            && sorted(&ours.streams) == sorted(&theirs.streams)
            && sorted(&ours.types) == sorted(&theirs.types)
            && sorted(&ours.tags) == sorted(&theirs.tags)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let filter = self.filter.clone();
        let kept = Kept {
            version: VERSION,
            streams: filter.streams,
            types: filter.types,
            tags: filter.tags,
            start: self.start,
        };
        serde_json::to_vec(&kept).expect("texts and numbers can be written as JSON")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| {
            Failure::new(
                Code::Unreadable,
                "the consumer's definition cannot be read by this version of the server",
            )
            .caused_by(&error)
        })?;
        Ok(Self {
            filter: Filter {
                streams: kept.streams,
                types: kept.types,
                tags: kept.tags,
            },
            start: kept.start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::EventId;

    fn definition(streams: &[&'static str], start: Start) -> ConsumerDefinition {
        ConsumerDefinition {
            filter: Filter {
                streams: streams
                    .iter()
                    .map(|name| StreamName::new(*name).unwrap())
                    .collect(),
                ..Filter::default()
            },
            start,
        }
    }

    #[test]
    fn a_definition_reads_back_as_it_was_kept() {
        for start in [Start::First, Start::End, Start::At(EventId::FIRST)] {
            let given = definition(&["b", "a"], start);
            assert_eq!(ConsumerDefinition::decode(&given.encode()).unwrap(), given);
        }
    }

    #[test]
    fn definitions_differ_by_what_they_give_not_by_how_they_are_written() {
        let given = definition(&["b", "a"], Start::First);
        assert!(given.is_same(&definition(&["a", "b", "a"], Start::First)));
        assert!(!given.is_same(&definition(&["a"], Start::First)));
        assert!(!given.is_same(&definition(&["b", "a"], Start::End)));
    }

    #[test]
    fn a_definition_of_a_newer_kind_is_refused() {
        let kept = br#"{"version":1,"start":"first","colour":"red"}"#;
        assert_eq!(
            ConsumerDefinition::decode(kept).unwrap_err().code,
            Code::Unreadable
        );
    }
}
