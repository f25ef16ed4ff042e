//! Consumers: named readers whose place in the log is durable.

use std::time::Duration;

use crate::store::EventId;

use super::Log;
use super::failure::Failure;
use super::filter::Filter;
use super::name::ConsumerName;
use super::range::Reading;

/// What a consumer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerDefinition {
    /// The events it is given.
    pub filter: Filter,
    /// Where it begins.
    pub start: Start,
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that is kept.
    #[default]
    First,
    /// With what is published after its definition.
    End,
    /// With this event.
    At(EventId),
}

/// Where to move a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// Before the oldest event that is kept.
    First,
    /// To the end.
    End,
    /// To this id: it and everything before it count as acknowledged; 0 is before the first.
    To(u64),
}

/// A consumer as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// What it is.
    pub definition: ConsumerDefinition,
    /// The id up to which it has acknowledged; 0 if nothing.
    pub checkpoint: u64,
    /// What it has not acknowledged.
    pub lag: Lag,
}

/// What a consumer has not acknowledged, counted as its filter lets through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    /// How many events.
    pub events: u64,
    /// Whether that is all; else there are at least so many. Exact unless the filter asks for
    /// several things at once and more than [`LAG_COUNT_MAX`](super::limits::LAG_COUNT_MAX) match.
    pub exact: bool,
    /// How long ago the oldest of them was recorded; zero if there is none.
    pub age: Duration,
}

/// What became of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Defined {
    /// The consumer.
    pub consumer: Consumer,
    /// Whether it is new.
    pub created: bool,
}

/// A page of consumers' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerPage {
    /// The names, in byte order.
    pub names: Vec<String>,
    /// After which name the next page goes on; none if this is the last.
    pub next: Option<String>,
}

/// What a consumer is given.
#[derive(Debug)]
pub struct ConsumerReading {
    /// The id up to which it had acknowledged.
    pub checkpoint: u64,
    /// The events after that.
    pub reading: Reading,
}

impl Log {
    /// Defines a consumer, or gives the one there is if it is defined the same way.
    ///
    /// # Errors
    ///
    /// [`Failure`]: it is defined otherwise, begins beyond the end, or there are too many.
    pub async fn define_consumer(
        &self,
        name: &ConsumerName<'_>,
        definition: ConsumerDefinition,
    ) -> Result<Defined, Failure> {
        let _ = (name, definition);
        todo!()
    }

    /// A consumer as it is now.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none.
    pub async fn consumer(&self, name: &ConsumerName<'_>) -> Result<Consumer, Failure> {
        let _ = name;
        todo!()
    }

    /// The consumers whose names come after `after`, at most `limit` (capped at
    /// [`LIST_MAX`](super::limits::LIST_MAX)).
    ///
    /// # Errors
    ///
    /// [`Failure`] if they cannot be listed.
    pub async fn consumers(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ConsumerPage, Failure> {
        let _ = (after, limit);
        todo!()
    }

    /// Removes a consumer and its checkpoint.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is none.
    pub async fn remove_consumer(&self, name: &ConsumerName<'_>) -> Result<(), Failure> {
        let _ = name;
        todo!()
    }

    /// The events after a consumer's checkpoint, at most `limit`. If there are none, waits for at
    /// most `wait`. The checkpoint stays where it is.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such consumer, or retention has overtaken it.
    pub async fn consume(
        &self,
        name: &ConsumerName<'_>,
        limit: Option<u64>,
        wait: Duration,
    ) -> Result<ConsumerReading, Failure> {
        let _ = (name, limit, wait);
        todo!()
    }

    /// Acknowledges everything up to `id`, and gives the checkpoint then: an id at or below it
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such consumer, or `id` lies beyond the end.
    pub async fn acknowledge(&self, name: &ConsumerName<'_>, id: EventId) -> Result<u64, Failure> {
        let _ = (name, id);
        todo!()
    }

    /// Moves the checkpoint anywhere, and gives it.
    ///
    /// # Errors
    ///
    /// [`Failure`]: there is no such consumer, or the place lies beyond the end.
    pub async fn seek(&self, name: &ConsumerName<'_>, seek: Seek) -> Result<u64, Failure> {
        let _ = (name, seek);
        todo!()
    }
}
