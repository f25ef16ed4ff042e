//! Every limit of the server, with its unit and its reason.
//!
//! Constants are part of what clients may rely on, or hold a data structure small; changing one
//! changes the product. [`Limits`] holds what a deployment or a test may choose.

use std::time::Duration;

use crate::store::{RECORD_LEN_MAX, StoreLimits, TAG_LEN_MAX, TAGS_MAX};

/// The longest name of a stream, type, tag or consumer, in bytes. Names lie in the tag index, so
/// they are kept short enough that an index entry stays small.
pub const NAME_LEN_MAX: usize = 255;
/// The longest `eventId`, in bytes. A UUID has 36.
pub const EVENT_ID_LEN_MAX: usize = 255;
/// The longest idempotency key, in bytes: it lies in the tag index like a name.
pub const KEY_LEN_MAX: usize = 255;
/// The longest content type of a payload, in bytes: one byte holds its length.
pub const CONTENT_TYPE_LEN_MAX: usize = 255;
/// The most tags a publisher may give an event. The server adds up to nine of its own.
pub const EVENT_TAGS_MAX: usize = 32;
/// The most events in one publish: a batch is one write, and others wait for it.
pub const BATCH_EVENTS_MAX: usize = 10_000;
/// The longest payload of one event, in bytes. It has to fit in memory several times over.
pub const DATA_LEN_MAX: usize = 16 << 20;
/// The longest metadata of one event, in bytes: for context, not for a second payload.
pub const METADATA_LEN_MAX: usize = 64 << 10;
/// How deep JSON may be nested: as deep as common parsers follow without a special setting.
pub const JSON_DEPTH_MAX: usize = 128;
/// The most query conditions of one publish. The writer judges each while others wait.
pub const CONDITIONS_MAX: usize = 64;
/// The most streams, types and tags together in one query, for the same reason.
pub const QUERY_TERMS_MAX: usize = 64;
/// How many events a page has if the request does not say.
pub const PAGE_EVENTS_DEFAULT: u64 = 100;
/// The most events a page has; a higher wish is capped, and the reply says so.
pub const PAGE_EVENTS_MAX: u64 = 10_000;
/// The bytes of records after which a page of a page-wise read ends, in bytes: large enough that
/// one reply frame carries many events, small enough that a reader holds little at a time.
pub const PAGE_LEN_MAX: usize = 256 << 10;
/// The bytes of records after which a JSON page ends early, with `next` set: 10,000 events of
/// 16 MiB must not have to fit in one reply.
pub const JSON_PAGE_LEN_MAX: usize = 16 << 20;
/// How many entries a page of streams, consumers or logs has if the request does not say.
pub const LIST_DEFAULT: usize = 100;
/// The most entries a page of streams or consumers has.
pub const LIST_MAX: usize = 1_000;
/// The most logs. Each has threads and files of its own.
pub const LOGS_MAX: usize = 256;
/// The most consumers of one log: their checkpoints are all in memory.
pub const CONSUMERS_MAX: usize = 10_000;
/// The most documents (webhooks, handlers, contracts, ...) together: all are in memory.
pub const DOCUMENTS_MAX: usize = 10_000;
/// The longest document, in bytes: a definition, not a payload.
pub const DOCUMENT_LEN_MAX: usize = 64 << 10;
/// The most events that one call of a webhook carries: one answer stands for all of them.
pub const CALL_EVENTS_MAX: usize = 1_000;
/// The bytes of records after which a call of several events is full, in bytes. One event goes
/// alone, however long it is.
pub const CALL_LEN_MAX: usize = 1 << 20;
/// All calls in memory together, in bytes: further ones wait. A call is put together only once there
/// is room for it, so endpoints that hang do not fill the memory.
pub const CALLS_LEN_MAX: usize = 256 << 20;
/// The bytes that the history of deliveries may take, in bytes: about half a million calls. The
/// oldest go first.
pub const DELIVERIES_LEN_MAX: u64 = 256 << 20;
/// How many calls of webhooks, handlers and actions may lead from one event to the other. An event that
/// has come through so many is kept, and not sent on: it is taken for a loop. Chains of systems that
/// answer each other on purpose are shorter.
pub const HOPS_MAX: u8 = 16;
/// The most open dead letters of one webhook: which ones are open is in memory. A webhook that has so
/// many gives up nothing more, and goes on trying.
pub const DEAD_LETTERS_MAX: usize = 10_000;
/// How many events a consumer's lag is counted to where the index does not give the number itself;
/// beyond it the lag is "at least this".
pub const LAG_COUNT_MAX: u64 = 10_000;
/// How many bytes of events are read to count them, in bytes.
pub const LAG_LEN_MAX: usize = 16 << 20;
/// How often a publish with idempotency keys is put together anew. Each round answers all keys
/// known by then, so a second is needed only when others publish the same keys at the same time.
pub const PUBLISH_ROUNDS_MAX: usize = 8;
/// What the store is given of these limits.
pub const STORE: StoreLimits = StoreLimits {
    logs_max: LOGS_MAX,
    checkpoints_max: CONSUMERS_MAX,
    // Each holds a thread; more would only queue in the disk instead of here.
    blocking_reads_max: 64,
    // What was written last is still in memory; some thousand events are also what a consumer that
    // keeps up is ever behind.
    near_end_ids: 4_096,
    // The server's own log holds little, and is read whole at the start.
    system_segment_len: 1 << 20,
};

/// The tags the server adds to an event: stream, type, their pair, the event's key, its aggregate, its
/// stream's ownership (twice), its id, the request's key.
const OWN_TAGS: usize = 9;

const _: () = assert!(EVENT_TAGS_MAX + OWN_TAGS <= TAGS_MAX);
// The pairs (stream and type, stream and owner) are the longest tags: a prefix, two names, a byte
// between them.
const _: () = assert!(2 * NAME_LEN_MAX + 2 <= TAG_LEN_MAX);
const _: () = assert!(KEY_LEN_MAX < TAG_LEN_MAX);
const _: () =
    assert!(DATA_LEN_MAX + METADATA_LEN_MAX + TAGS_MAX * (TAG_LEN_MAX + 10) < RECORD_LEN_MAX);
const _: () = assert!(PAGE_EVENTS_DEFAULT <= PAGE_EVENTS_MAX);
// The largest event fits into a call, as base64 too.
const _: () = assert!(2 * RECORD_LEN_MAX < CALLS_LEN_MAX);

/// The limits that a deployment, or a test, may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request body, in bytes. It is in memory while it is judged.
    pub body_len_max: usize,
    /// All request bodies in memory together, in bytes; further ones wait, then are refused as
    /// busy.
    pub bodies_len_max: usize,
    /// Connections at a time; further ones wait in the system's queue.
    pub connections_max: usize,
    /// Replies at a time that may go on without end or at the client's pace (SSE, NDJSON, raw); more are
    /// refused as busy.
    pub readers_max: usize,
    /// How long a client may take for the head of a request; idle connections end by it, too.
    pub header_timeout: Duration,
    /// How long a client may take for the body of a request.
    pub body_timeout: Duration,
    /// How long a client may take no byte of a reply before the connection is given up.
    pub write_timeout: Duration,
    /// The longest long poll; a longer wish is capped. Proxies cut idle requests at 60 s or so.
    pub wait_max: Duration,
    /// How long an event stream is silent before a comment shows that it lives.
    pub heartbeat: Duration,
    /// How long a publish waits for another with the same key that is not readable yet.
    pub repeat_wait_max: Duration,
    /// How long requests in flight may take to end when the server stops.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_len_max: 32 << 20,
            bodies_len_max: 256 << 20,
            connections_max: 4_096,
            readers_max: 1_024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            wait_max: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            repeat_wait_max: Duration::from_secs(10),
            drain_max: Duration::from_secs(5),
        }
    }
}
