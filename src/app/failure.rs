//! What can go wrong, said twice: to the caller what to do about it, to the log why.
//!
//! A [`Code`] names each case and never changes its meaning; a [`FailureKind`] says what a caller
//! can do about it. Doors map kinds, and where their specification asks single codes, to their own
//! answers, by exhaustive `match`es.
#![deny(clippy::wildcard_enum_match_arm)]

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::store::{AppendError, BatchError, CheckpointError, CreateError, EventId, ReadError};

use super::name::NameError;

/// What a caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The request itself is wrong.
    Invalid,
    /// The request is larger than it may ever be.
    TooLarge,
    /// No such log, stream, event or consumer.
    NotFound,
    /// It was there, and retention has removed it.
    Expired,
    /// It contradicts what is there.
    Conflict,
    /// A condition that the caller set does not hold.
    Unmet,
    /// The idempotency key stands for something else.
    KeyReused,
    /// The caller may not do this.
    Denied,
    /// A limit is reached; the same request may pass later.
    Busy,
    /// The disk is full; the same request passes once there is room.
    Full,
    /// The log has failed and takes nothing more until it is opened again, or the server is
    /// stopping.
    Failed,
    /// Stored bytes are damaged or cannot be read.
    Damaged,
    /// It may or may not have happened: the batch failed, or we made a mistake.
    Unknown,
}

impl FailureKind {
    /// Whether the server promises that the request changed nothing.
    #[must_use]
    pub fn changed_nothing(self) -> bool {
        match self {
            Self::Invalid
            | Self::TooLarge
            | Self::NotFound
            | Self::Expired
            | Self::Conflict
            | Self::Unmet
            | Self::KeyReused
            | Self::Denied
            | Self::Busy
            | Self::Full
            | Self::Failed
            | Self::Damaged => true,
            Self::Unknown => false,
        }
    }

    /// After how many seconds the same request may be worth another try; none if it is not.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u32> {
        match self {
            Self::Busy => Some(1),
            Self::Full => Some(10),
            Self::Failed => Some(30),
            Self::Invalid
            | Self::TooLarge
            | Self::NotFound
            | Self::Expired
            | Self::Conflict
            | Self::Unmet
            | Self::KeyReused
            | Self::Denied
            | Self::Damaged
            | Self::Unknown => None,
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $text:literal, $kind:ident, $title:literal;)*) => {
        /// Which failure it is. Its text is what programs look at, and never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $code,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$code,)*];

            /// The code as programs see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text,)* }
            }

            /// What a caller can do about it.
            #[must_use]
            pub fn kind(self) -> FailureKind {
                match self { $(Self::$code => FailureKind::$kind,)* }
            }

            /// A short sentence for people, the same every time.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$code => $title,)* }
            }
        }
    };
}

codes! {
    /// A name is not one.
    InvalidName = "invalid-name", Invalid, "A name is not valid";
    /// A log name is not one.
    InvalidLogName = "invalid-log-name", Invalid, "The log name is not valid";
    /// An event of a batch is wrong; the index says which.
    InvalidEvent = "invalid-event", Invalid, "An event is not valid";
    /// Expectations of one publish contradict each other, or name a stream it does not write to.
    InvalidExpectation = "invalid-expectation", Invalid, "The expectations contradict each other";
    /// A batch has no events.
    EmptyBatch = "empty-batch", Invalid, "There are no events";
    /// Two events of a batch carry the same idempotency key.
    RepeatedKey = "repeated-key", Invalid, "Two events of one batch carry the same idempotency key";
    /// A range or a filter makes no sense.
    InvalidRange = "invalid-range", Invalid, "The range is not valid";
    /// A query has too many terms, or a publish too many conditions.
    TooManyTerms = "too-many-terms", Invalid, "The query has too many terms";
    /// A consumer's definition is wrong.
    InvalidConsumer = "invalid-consumer", Invalid, "The consumer's definition is not valid";
    /// An endpoint may not be called.
    EndpointRefused = "endpoint-refused", Invalid, "The endpoint may not be called";
    /// A batch has too many events.
    TooManyEvents = "too-many-events", TooLarge, "There are too many events in one batch";
    /// An event or a batch is too long.
    TooLarge = "too-large", TooLarge, "The request is too large";
    /// There is no such log.
    NoSuchLog = "no-such-log", NotFound, "There is no such log";
    /// There is no such event yet.
    NoSuchEvent = "no-such-event", NotFound, "There is no such event";
    /// There is no such stream.
    NoSuchStream = "no-such-stream", NotFound, "There is no such stream";
    /// There is no such consumer.
    NoSuchConsumer = "no-such-consumer", NotFound, "There is no such consumer";
    /// There is no such webhook.
    NoSuchWebhook = "no-such-webhook", NotFound, "There is no such webhook";
    /// There is no such dead letter, or it is done with.
    NoSuchDeadLetter = "no-such-dead-letter", NotFound, "There is no such dead letter";
    /// Retention has removed it.
    Expired = "expired", Expired, "Retention has removed these events";
    /// There is a consumer with another definition.
    ConsumerExists = "consumer-exists", Conflict, "The consumer is defined otherwise";
    /// An id lies beyond the end of the log.
    BeyondEnd = "beyond-end", Conflict, "The id lies beyond the end of the log";
    /// The stream belongs to another producer.
    StreamOwned = "stream-owned", Conflict, "The stream belongs to another producer";
    /// There are as many logs as there may be.
    TooManyLogs = "too-many-logs", Conflict, "There are too many logs";
    /// There are as many consumers as there may be.
    TooManyConsumers = "too-many-consumers", Conflict, "There are too many consumers";
    /// There are as many definitions of webhooks and the like as there may be.
    TooManyDefinitions = "too-many-definitions", Conflict, "There are too many definitions";
    /// A stream is not where the caller expected it.
    SequenceMismatch = "sequence-mismatch", Unmet, "The stream is not at the expected sequence";
    /// An event is not the next one of its aggregate.
    AggregateSequence = "aggregate-sequence", Unmet, "The event is not the next one of its aggregate";
    /// An event matches a condition that none should match.
    ConditionUnmet = "condition-unmet", Unmet, "An event matches a condition";
    /// The idempotency key was used for something else.
    KeyReused = "key-reused", KeyReused, "The idempotency key was used for something else";
    /// The caller may not do this.
    Denied = "denied", Denied, "This is not allowed";
    /// Too much is waiting.
    Busy = "busy", Busy, "The server is busy";
    /// A piece of the index is being rebuilt.
    IndexNotReady = "index-not-ready", Busy, "The index is being rebuilt";
    /// The disk is full.
    DiskFull = "disk-full", Full, "The disk is full";
    /// The log takes no writes.
    LogFailed = "log-failed", Failed, "The log takes no writes";
    /// The server is stopping.
    Stopping = "stopping", Failed, "The server is stopping";
    /// Stored bytes are damaged.
    Damaged = "damaged", Damaged, "Stored bytes are damaged";
    /// The disk could not be read.
    Unreadable = "unreadable", Damaged, "The disk could not be read";
    /// The outcome is unknown.
    OutcomeUnknown = "outcome-unknown", Unknown, "The outcome is unknown";
    /// We made a mistake.
    Internal = "internal", Unknown, "The server made a mistake";
}

/// What of a failure programs can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Details {
    /// Nothing.
    #[default]
    None,
    /// Where a stream stood instead.
    Sequence {
        /// The sequence the first event concerned was to get.
        expected: u64,
        /// The last sequence of the stream as it is stored; none for an empty stream.
        actual: Option<u64>,
    },
    /// Where an aggregate stood instead.
    Aggregate {
        /// The sequence that the event was given.
        given: u64,
        /// The sequence that the next event of the aggregate has, counting those before this one in
        /// the batch.
        next: u64,
    },
    /// The event that was in the way.
    Found {
        /// Which condition, from 0.
        condition: usize,
        /// The last event that matches it.
        id: EventId,
    },
    /// The oldest id that is kept.
    FirstId(EventId),
    /// The last id of the log; 0 if it has none.
    LastId(u64),
    /// A limit.
    Limit(u64),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which failure it is.
    pub code: Code,
    /// What was wrong, and where, for the client.
    pub message: Cow<'static, str>,
    /// The same for our own log, with causes that are not the client's business.
    pub log_message: Option<Box<str>>,
    /// Which event of the request, from 0.
    pub index: Option<usize>,
    /// What of it programs can use.
    pub details: Details,
}

impl Failure {
    /// A failure with a message for the client.
    #[must_use]
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            log_message: None,
            index: None,
            details: Details::None,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.code.kind()
    }

    /// Whether the server promises that the request changed nothing.
    #[must_use]
    pub fn changed_nothing(&self) -> bool {
        self.kind().changed_nothing()
    }

    /// The same failure, of the event at `index`.
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// The same failure with something for programs.
    #[must_use]
    pub fn with(mut self, details: Details) -> Self {
        self.details = details;
        self
    }

    /// The same failure, with its cause for our own log.
    #[must_use]
    pub fn caused_by(mut self, cause: &dyn Error) -> Self {
        let mut text = cause.to_string();
        let mut next = cause.source();
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        self.log_message = Some(text.into_boxed_str());
        self
    }
}

impl fmt::Display for Failure {
    /// For our own log: the message for the client, and the cause if it is another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        if let Some(index) = self.index {
            write!(f, " (event {index})")?;
        }
        match &self.log_message {
            Some(cause) => write!(f, " [{cause}]"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

impl From<NameError> for Failure {
    fn from(error: NameError) -> Self {
        Self::new(Code::InvalidName, error.to_string())
    }
}

impl From<BatchError> for Failure {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::TagTwice => Self::new(
                Code::InvalidEvent,
                "the event carries the same tag twice; nothing was stored",
            ),
            BatchError::TooLarge { .. } => Self::new(
                Code::TooLarge,
                "the batch is longer than the log can take at once; nothing was stored",
            )
            .caused_by(&error),
            // The names were checked before, so the tags made of them fit.
            BatchError::TagLength { .. } | BatchError::TagCount { .. } | _ => {
                Self::new(Code::Internal, "the event could not be encoded").caused_by(&error)
            }
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Expired { first_id } => Self::new(
                Code::Expired,
                format!("retention has removed events before {first_id}; go on from there"),
            )
            .with(Details::FirstId(first_id)),
            ReadError::Damaged(ref damage) => {
                Self::new(Code::Damaged, format!("the log has {damage}")).caused_by(&error)
            }
            ReadError::IndexNotReady => Self::new(
                Code::IndexNotReady,
                "a piece of the index is being rebuilt; ask again in a moment",
            ),
            ReadError::Io(_) | _ => {
                Self::new(Code::Unreadable, "the log's files could not be read").caused_by(&error)
            }
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::TooMany { checkpoints_max } => Self::new(
                Code::TooManyConsumers,
                format!("the log has {checkpoints_max} consumers already"),
            ),
            CheckpointError::TooLarge => Self::new(
                Code::InvalidConsumer,
                "the consumer's name and definition are too long together",
            ),
            CheckpointError::NotFound => {
                Self::new(Code::NoSuchConsumer, "there is no such consumer")
            }
            CheckpointError::Exists => Self::new(
                Code::ConsumerExists,
                "there is a consumer of this name already",
            ),
            CheckpointError::BeyondEnd { last_id } => Self::new(
                Code::BeyondEnd,
                format!("the log ends at {last_id}; nothing was changed"),
            )
            .with(Details::LastId(last_id)),
            CheckpointError::Full => Self::new(
                Code::DiskFull,
                "the disk is full; the checkpoint was not changed",
            ),
            CheckpointError::Failed(_) => Self::new(
                Code::LogFailed,
                "an earlier write failed, so checkpoints cannot be moved until the server is restarted",
            )
            .caused_by(&error),
            CheckpointError::Unknown(_) | _ => Self::new(
                Code::OutcomeUnknown,
                "writing the checkpoint failed; whether it moved is unknown until the server is restarted",
            )
            .caused_by(&error),
        }
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::TooMany { logs_max } => Self::new(
                Code::TooManyLogs,
                format!("there are {logs_max} logs already"),
            )
            .with(Details::Limit(u64::try_from(logs_max).unwrap_or(u64::MAX))),
            CreateError::Full => {
                Self::new(Code::DiskFull, "the disk is full; the log was not created")
            }
            CreateError::Closed => Self::stopping(),
            CreateError::Failed(_) => {
                Self::new(Code::LogFailed, "the log could not be created").caused_by(&error)
            }
        }
    }
}

impl Failure {
    /// The server is stopping, and nothing was done.
    #[must_use]
    pub fn stopping() -> Self {
        Self::new(Code::Stopping, "the server is stopping; nothing was stored")
    }

    /// An append that was refused for reasons that lie with the log, or failed. Expected ranks and
    /// conditions belong to the publish that set them, which knows what they mean.
    #[must_use]
    pub fn of_append(error: &AppendError) -> Self {
        match error {
            AppendError::Empty => Self::new(Code::EmptyBatch, "there are no events to store"),
            AppendError::TooLarge { len_max, .. } => Self::new(
                Code::TooLarge,
                format!("the log takes at most {len_max} bytes at once; nothing was stored"),
            )
            .with(Details::Limit(*len_max)),
            AppendError::Busy => Self::new(
                Code::Busy,
                "too many publishes are waiting; nothing was stored",
            ),
            AppendError::Full => Self::new(
                Code::DiskFull,
                "the disk is full; nothing was stored, and reads go on",
            ),
            AppendError::Scarce(_) => Self::new(
                Code::Busy,
                "the server has no file descriptor or memory left for another segment; nothing was stored",
            )
            .caused_by(error),
            AppendError::IndexNotReady => Self::new(
                Code::IndexNotReady,
                "a piece of the index is being rebuilt, and the conditions cannot be judged without it; nothing was stored",
            ),
            AppendError::IdsSpent => Self::new(
                Code::LogFailed,
                "the log has given out all its ids; nothing was stored",
            ),
            AppendError::Failed(_) => Self::new(
                Code::LogFailed,
                "an earlier write failed, so the log takes no more until the server is restarted; nothing was stored, and reads go on",
            )
            .caused_by(error),
            AppendError::Unknown(_) => Self::new(
                Code::OutcomeUnknown,
                "writing failed; whether the events are stored is unknown until the server is restarted",
            )
            .caused_by(error),
            AppendError::Ranks(_) | AppendError::Condition { .. } => {
                Self::new(Code::Internal, "a condition was not understood").caused_by(error)
            }
            _ => Self::new(Code::Internal, "the log gave an answer of a new kind").caused_by(error),
        }
    }
}
