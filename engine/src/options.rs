//! What can be chosen for a log, with limits and units.

use std::fmt;
use std::sync::Arc;

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once the batch is synced: it survives the loss of power.
    #[default]
    Sync,
    /// Once the operating system has the bytes: the batch survives the end of the process, not of
    /// the machine.
    Os,
}

/// Which segments may go. Each limit alone is enough; whole segments only, never the active one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Retention {
    /// A segment goes once its newest record is older than this many seconds.
    pub age_max_s: Option<u64>,
    /// The oldest segments go while the log's segment files take more than this many bytes.
    pub bytes_max: Option<u64>,
    /// The oldest segments go while at least this many records are left without them.
    pub records_max: Option<u64>,
}

/// Gives the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since 1970 (UTC). May stand still or go back; the log never does.
    fn now_us(&self) -> u64;
}

/// The clock of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that is handed in everywhere else"
    )]
    fn now_us(&self) -> u64 {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
            })
    }
}

/// Gives numbers that nobody can foretell: salts and identities of logs.
pub trait Entropy: fmt::Debug + Send + Sync + 'static {
    /// The next number.
    fn next_u64(&self) -> u64;
}

/// The random numbers of the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn next_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        // Requests of up to 256 bytes are never cut short once the kernel's pool is ready, and the
        // call waits for that; a salt that stays zero would still only weaken the second of two
        // defences against stale batches (FORMAT.md, section 7).
        let _filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        u64::from_le_bytes(bytes)
    }
}

/// Who does the log's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Background {
    /// Threads of the log: one that commits, one for upkeep (index runs, merges, the next segment,
    /// retention), and one for the checkpoints once they are used.
    #[default]
    Threads,
    /// The thread that appends does everything before its call returns. One step after the other,
    /// always in the same order: for tests that cut the power at each, and for single-threaded
    /// hosts.
    Inline,
}

/// How a log is opened. The defaults suit a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a segment file, allocated and filled with zeros ahead. More means fewer files and a longer tail to read
    /// at the start; at least [`SEGMENT_LEN_MIN`].
    pub segment_len: u64,
    /// The durability of appends that ask for none.
    pub durability: Durability,
    /// How long a log under [`Durability::Os`] goes without a sync, in milliseconds.
    pub os_sync_interval_ms: u64,
    /// Which segments may go.
    pub retention: Retention,
    /// How many appends may wait for the writer; more are refused as busy.
    pub queue_len_max: usize,
    /// How many encoded bytes may wait for the writer; more are refused as busy.
    pub queue_bytes_max: usize,
    /// How many sealed segments stay mapped once they have been read. When there are more, upkeep
    /// lets all but the newest half go; readers keep what they hold, and the next one maps it again.
    /// A segment takes two maps, and Linux allows a process 65,530 of them (`vm.max_map_count`).
    pub segments_mapped_max: usize,
    /// How many consumers a log keeps checkpoints for.
    pub checkpoints_max: usize,
    /// Who does the log's work.
    pub background: Background,
    /// The clock for the records' times.
    pub clock: Arc<dyn Clock>,
    /// Where salts and identities come from.
    pub entropy: Arc<dyn Entropy>,
    /// A fault to plant, for tests of the tests.
    #[cfg(feature = "sabotage")]
    pub sabotage: Option<crate::Sabotage>,
}

/// The shortest segment, in bytes: its header and room for a few records.
pub const SEGMENT_LEN_MIN: u64 = 16 << 10;
/// The longest segment, in bytes: offsets in it are 32 bits wide.
pub const SEGMENT_LEN_MAX: u64 = 1 << 30;

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_len: 64 << 20,
            durability: Durability::Sync,
            os_sync_interval_ms: 1_000,
            retention: Retention::default(),
            queue_len_max: 16_384,
            queue_bytes_max: 256 << 20,
            segments_mapped_max: 8_192,
            checkpoints_max: 100_000,
            background: Background::Threads,
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}
