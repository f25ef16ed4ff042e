//! Events to publish: the same ones in every run.

use strandlog_engine::{Batch, Durability, Tag};

/// The seed of everything that is random here.
pub(crate) const SEED: u64 = 0x5eed_0f57_a2d1_0097;

/// A fast sequence of numbers that look random (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What an event looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of its body.
    pub(crate) body_len: usize,
    /// Whether it has a stream, a type and a key of its own as tags.
    pub(crate) is_tagged: bool,
}

/// Streams that are published to in turns.
const STREAMS: u64 = 100_000;
/// Event types.
const TYPES: u64 = 16;
/// Bodies are cut out of this many random bytes.
const POOL_LEN: usize = 1 << 20;

/// Makes batches of events.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) shape: Shape,
    pub(crate) durability: Durability,
    pool: Vec<u8>,
    random: Random,
    next_key: u64,
}

impl Workload {
    pub(crate) fn new(shape: Shape, durability: Durability) -> Self {
        let mut random = Random::new(SEED);
        let pool = std::iter::repeat_with(|| random.next().to_le_bytes())
            .flatten()
            .take(POOL_LEN + shape.body_len)
            .collect();
        Self {
            shape,
            durability,
            pool,
            random,
            next_key: 0,
        }
    }

    /// The next batch of `len` events.
    pub(crate) fn batch(&mut self, len: usize) -> Batch {
        let mut batch = Batch::with_capacity(len * (self.shape.body_len + 160));
        for _ in 0..len {
            let body = body(&self.pool, self.shape.body_len, &mut self.random);
            if self.shape.is_tagged {
                let stream = stream_tag(self.random.below(STREAMS));
                let kind = type_tag(self.random.below(TYPES));
                let key = key_tag(self.next_key);
                self.next_key += 1;
                let tags = [
                    Tag::new(&stream),
                    Tag::new(&kind),
                    // As an idempotency key: nobody may have published it.
                    Tag::expecting(&key, 0),
                ];
                batch.push(&tags, &[body]).unwrap();
            } else {
                batch.push(&[], &[body]).unwrap();
            }
        }
        batch.set_durability(self.durability);
        batch
    }

    /// A body for one event.
    pub(crate) fn body(&mut self) -> &[u8] {
        body(&self.pool, self.shape.body_len, &mut self.random)
    }
}

fn body<'a>(pool: &'a [u8], len: usize, random: &mut Random) -> &'a [u8] {
    let start = usize::try_from(random.below(POOL_LEN as u64)).unwrap();
    &pool[start..start + len]
}

/// The tag of a stream: 20 bytes.
pub(crate) fn stream_tag(number: u64) -> [u8; 20] {
    let mut tag = *b"s/................##";
    tag[2..18].copy_from_slice(&hex(mix(number)));
    tag
}

/// The tag of a type: 14 bytes.
pub(crate) fn type_tag(number: u64) -> [u8; 14] {
    let mut tag = *b"t/something-00";
    tag[12..].copy_from_slice(&hex(number)[14..]);
    tag
}

/// The tag of an idempotency key: 34 bytes, as long as a UUID without its hyphens.
pub(crate) fn key_tag(number: u64) -> [u8; 34] {
    let mut tag = *b"k/................................";
    tag[2..18].copy_from_slice(&hex(mix(number)));
    tag[18..].copy_from_slice(&hex(mix(!number)));
    tag
}

fn hex(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    for (place, digit) in text.iter_mut().zip((0..16).rev()) {
        *place = b"0123456789abcdef"[(number >> (4 * digit)) as usize & 15];
    }
    text
}
