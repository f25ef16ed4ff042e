//! The hash of a tag.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Part of the format: the filters of all run files were built with it.
const SEED: u64 = 0x5354_524E_4454_4147;

/// The 64-bit hash of a tag, the same in every build and for ever (FORMAT.md, section 9.1).
#[must_use]
pub(crate) fn tag_hash(tag: &[u8]) -> u64 {
    xxh3_64_with_seed(tag, SEED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_tag_never_changes() {
        assert_eq!(tag_hash(b""), 0x184d_bf15_3bcc_c39e);
        assert_eq!(tag_hash(b"stream:order-1"), 0xe058_d675_336b_a0eb);
        assert_eq!(tag_hash(&[b'x'; 600]), 0x87d5_afe6_307c_bc06);
    }
}
