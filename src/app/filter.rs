//! Which events: by stream, type and tags.

use crate::store::Query;

use super::failure::{Code, Failure};
use super::limits::QUERY_TERMS_MAX;
use super::name::{EventType, StreamName, TagLabel};
use super::tags::{self, LABEL, STREAM, TYPE};

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

    /// How many names it has.
    #[must_use]
    pub fn terms(&self) -> usize {
        self.streams.len() + self.types.len() + self.tags.len()
    }

    /// Refuses more names than a query may have.
    ///
    /// # Errors
    ///
    /// [`Failure`] says how many there are.
    pub fn check(&self) -> Result<(), Failure> {
        if self.terms() > QUERY_TERMS_MAX {
            return Err(Failure::new(
                Code::TooManyTerms,
                format!(
                    "the filter has {} streams, types and tags, more than {QUERY_TERMS_MAX}",
                    self.terms()
                ),
            ));
        }
        Ok(())
    }

    /// The same as a query of the store; none if it lets every event through.
    ///
    /// Streams and types together become pairs, of which the index knows the events without
    /// intersecting, as long as there are not too many of them.
    pub(super) fn query(&self) -> Option<Query> {
        if self.is_empty() {
            return None;
        }
        let mut all = Vec::new();
        let pairs = self.streams.len().saturating_mul(self.types.len());
        if (1..=QUERY_TERMS_MAX).contains(&pairs) {
            let types = |stream: &StreamName<'_>| {
                let stream = stream.as_str().to_owned();
                self.types
                    .iter()
                    .map(move |event_type| tags::pair(&stream, event_type.as_str()))
            };
            all.push(self.streams.iter().flat_map(types).collect());
        } else {
            if !self.streams.is_empty() {
                let streams = self.streams.iter();
                all.push(
                    streams
                        .map(|name| tags::tag(STREAM, name.as_str()))
                        .collect(),
                );
            }
            if !self.types.is_empty() {
                let types = self.types.iter();
                all.push(types.map(|name| tags::tag(TYPE, name.as_str())).collect());
            }
        }
        for label in &self.tags {
            all.push(vec![tags::tag(LABEL, label.as_str())]);
        }
        Some(Query { all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(streams: usize, types: usize, labels: usize) -> Filter {
        Filter {
            streams: (0..streams)
                .map(|n| StreamName::new(format!("s{n}")).unwrap())
                .collect(),
            types: (0..types)
                .map(|n| EventType::new(format!("t{n}")).unwrap())
                .collect(),
            tags: (0..labels)
                .map(|n| TagLabel::new(format!("u{n}")).unwrap())
                .collect(),
        }
    }

    #[test]
    fn streams_and_types_together_are_asked_for_as_pairs() {
        let query = names(2, 2, 1).query().unwrap();
        assert_eq!(
            query.all,
            [
                vec![
                    b"ps0\0t0".to_vec(),
                    b"ps0\0t1".to_vec(),
                    b"ps1\0t0".to_vec(),
                    b"ps1\0t1".to_vec()
                ],
                vec![b"uu0".to_vec()]
            ]
        );
    }

    #[test]
    fn too_many_pairs_are_asked_for_as_streams_and_types() {
        let query = names(20, 20, 0).query().unwrap();
        let sizes: Vec<usize> = query.all.iter().map(Vec::len).collect();
        assert_eq!(sizes, [20, 20]);
    }

    #[test]
    fn a_filter_that_asks_for_nothing_is_no_query() {
        assert_eq!(Filter::default().query(), None);
    }
}
