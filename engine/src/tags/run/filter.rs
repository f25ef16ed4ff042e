//! The filter of a run: most tags that the run does not have are turned away after a look at one
//! cache line.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::FILTER_BLOCK_LEN;

/// The bits of a block; the rest of it is its checksum.
const BITS_LEN: usize = 60;
const BITS: u64 = BITS_LEN as u64 * 8;

/// How many tags a block is made for: 12 bits each, for about one false alarm in two hundred.
const TAGS_PER_BLOCK: u64 = BITS / 12;

/// How many bits each tag sets, all of them in one block.
const PROBES: u32 = 7;

/// What the filter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// The run does not have the tag.
    Absent,
    /// It may have it.
    Maybe,
    /// The block fails its checksum, so it says nothing.
    Damaged,
}

/// How many blocks a run with this many tags has.
pub(crate) fn blocks(tags: u64) -> u64 {
    tags.div_ceil(TAGS_PER_BLOCK)
}

/// The block of a tag, out of `blocks`. See FORMAT.md, section 9.7.
#[inline]
pub(crate) fn block_of(hash: u64, blocks: u32) -> u32 {
    (((hash >> 32) * u64::from(blocks)) >> 32) as u32
}

/// The bits of a tag in its block: which byte, and which bit of it.
#[inline]
fn bits_of(hash: u64) -> impl Iterator<Item = (usize, u8)> {
    // All bits of the hash take part, because those which chose the block are much the same for
    // all tags in it. Nine bits of the product make one place.
    let mut mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^= mixed >> 32;
    (0..PROBES).map(move |probe| {
        let place = (((mixed >> (probe * 9)) & 0x1FF) * BITS) >> 9;
        ((place / 8) as usize, 1 << (place % 8))
    })
}

/// Builds some of the blocks of a filter.
#[derive(Debug)]
pub(crate) struct FilterBuilder {
    blocks: u32,
    first: u32,
    part: Vec<[u8; BITS_LEN]>,
}

impl FilterBuilder {
    /// For up to `count_max` blocks from `first` on, out of `blocks`.
    pub(crate) fn new(blocks: u32, first: u32, count_max: u32) -> Self {
        let count = (blocks - first).min(count_max) as usize;
        Self {
            blocks,
            first,
            part: vec![[0; BITS_LEN]; count],
        }
    }

    /// Adds a tag, if its block is among those that are being built.
    pub(crate) fn add(&mut self, hash: u64) {
        let block = block_of(hash, self.blocks).checked_sub(self.first);
        let bits = block.and_then(|block| self.part.get_mut(block as usize));
        let Some(bits) = bits else { return };
        for (at, bit) in bits_of(hash) {
            if let Some(byte) = bits.get_mut(at) {
                *byte |= bit;
            }
        }
    }

    /// The blocks as they stand in the file.
    pub(crate) fn encode(&self, key: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.part.len() * FILTER_BLOCK_LEN);
        for (block, bits) in (self.first..).zip(&self.part) {
            bytes.extend_from_slice(bits);
            bytes.extend(checksum(bits, block, key).to_le_bytes());
        }
        bytes
    }
}

/// Whether the block `number` is what was written there.
#[inline]
pub(crate) fn is_sound(block: &[u8; FILTER_BLOCK_LEN], number: u32, key: u64) -> bool {
    block
        .split_first_chunk::<BITS_LEN>()
        .is_some_and(|(bits, stored)| stored == checksum(bits, number, key).to_le_bytes())
}

/// Asks the block `number`, that of this hash, about a tag.
#[inline]
pub(crate) fn probe(block: &[u8; FILTER_BLOCK_LEN], number: u32, key: u64, hash: u64) -> Probe {
    if !is_sound(block, number, key) {
        return Probe::Damaged;
    }
    let has = |(at, bit): (usize, u8)| block.get(at).is_some_and(|byte| byte & bit != 0);
    if bits_of(hash).all(has) {
        Probe::Maybe
    } else {
        Probe::Absent
    }
}

/// Makes the checksum of a block right, for the fuzz targets.
pub(crate) fn repair(block: &mut [u8], number: u32, key: u64) {
    if let Some((bits, place)) = block.split_first_chunk_mut::<BITS_LEN>()
        && let Some(place) = place.first_chunk_mut::<4>()
    {
        *place = checksum(bits, number, key).to_le_bytes();
    }
}

/// The checksum of a block. Not a CRC-32, which takes a hundred nanoseconds for so few bytes where
/// an appended stream name asks the filters of all runs.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "half of the hash is the checksum"
)]
fn checksum(bits: &[u8; BITS_LEN], number: u32, key: u64) -> u32 {
    xxh3_64_with_seed(bits, key ^ u64::from(number)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tags::tag_hash;

    fn hashes(range: std::ops::Range<u32>) -> impl Iterator<Item = u64> {
        range.map(|number| tag_hash(format!("tag {number}").as_bytes()))
    }

    fn built(tags: u32) -> (u32, Vec<u8>) {
        let blocks = u32::try_from(blocks(u64::from(tags))).unwrap();
        let mut bytes = Vec::new();
        let mut first = 0;
        while first < blocks {
            let mut part = FilterBuilder::new(blocks, first, 7);
            hashes(0..tags).for_each(|hash| part.add(hash));
            bytes.extend(part.encode(42));
            first += 7;
        }
        (blocks, bytes)
    }

    fn ask(blocks: u32, bytes: &[u8], hash: u64) -> Probe {
        let number = block_of(hash, blocks);
        let at = number as usize * FILTER_BLOCK_LEN;
        let block = bytes[at..].first_chunk().unwrap();
        probe(block, number, 42, hash)
    }

    #[test]
    fn a_filter_knows_all_its_tags_and_turns_most_others_away() {
        let (blocks, bytes) = built(10_000);
        assert_eq!(bytes.len(), blocks as usize * FILTER_BLOCK_LEN);
        for hash in hashes(0..10_000) {
            assert_eq!(ask(blocks, &bytes, hash), Probe::Maybe);
        }
        let alarms = hashes(10_000..110_000)
            .filter(|&hash| ask(blocks, &bytes, hash) == Probe::Maybe)
            .count();
        assert!(alarms < 900, "{alarms} false alarms in 100,000");
    }

    #[test]
    fn every_flipped_bit_of_a_block_is_noticed() {
        let (blocks, bytes) = built(30);
        assert_eq!(blocks, 1);
        let hash = hashes(0..1).next().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ask(blocks, &bytes, hash), Probe::Damaged, "bit {bit}");
        }
    }
}
