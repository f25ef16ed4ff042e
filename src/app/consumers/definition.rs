//! A consumer's definition as it is kept with its checkpoint: a small JSON object.

use serde::{Deserialize, Serialize};

use crate::store::EventId;

use super::super::failure::{Code, Failure};
use super::super::filter::Filter;
use super::super::name::{EventType, NameError, StreamName, TagLabel};
use super::{ConsumerDefinition, Start};

/// The version of what is kept.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    streams: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    start: KeptStart,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptStart {
    First,
    End,
    At(u64),
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
        fn texts<T: ToString>(names: &[T]) -> Vec<String> {
            names.iter().map(T::to_string).collect()
        }
        let kept = Kept {
            version: VERSION,
            streams: texts(&self.filter.streams),
            types: texts(&self.filter.types),
            tags: texts(&self.filter.tags),
            start: match self.start {
                Start::First => KeptStart::First,
                Start::End => KeptStart::End,
                Start::At(id) => KeptStart::At(id.get()),
            },
        };
        serde_json::to_vec(&kept).expect("texts and numbers can be written as JSON")
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Failure> {
        let unreadable = |why: &dyn std::error::Error| {
            Failure::new(
                Code::Unreadable,
                "the consumer's definition cannot be read by this version of the server",
            )
            .caused_by(why)
        };
        let kept: Kept = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        let names = || -> Result<Filter, NameError> {
            Ok(Filter {
                streams: all(kept.streams, StreamName::new)?,
                types: all(kept.types, EventType::new)?,
                tags: all(kept.tags, TagLabel::new)?,
            })
        };
        Ok(Self {
            filter: names().map_err(|error| unreadable(&error))?,
            start: match kept.start {
                KeptStart::First => Start::First,
                KeptStart::End => Start::End,
                KeptStart::At(id) => Start::At(EventId::new(id).unwrap_or(EventId::FIRST)),
            },
        })
    }
}

fn all<T>(
    texts: Vec<String>,
    check: impl Fn(String) -> Result<T, NameError>,
) -> Result<Vec<T>, NameError> {
    texts.into_iter().map(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
