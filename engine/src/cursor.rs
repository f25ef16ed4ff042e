//! Reading bytes that nobody has vouched for.

/// Hands out the front of a byte slice, piece by piece. Never panics: where too little is left it
/// answers `None`, and has then taken nothing or some.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn take_u8(&mut self) -> Option<u8> {
        self.take_array().map(u8::from_le_bytes)
    }

    pub(crate) fn take_u16(&mut self) -> Option<u16> {
        self.take_array().map(u16::from_le_bytes)
    }

    pub(crate) fn take_u32(&mut self) -> Option<u32> {
        self.take_array().map(u32::from_le_bytes)
    }

    pub(crate) fn take_u64(&mut self) -> Option<u64> {
        self.take_array().map(u64::from_le_bytes)
    }

    /// A number of seven bits a byte, low bits first; `None` too if it does not fit into 64 bits.
    #[inline]
    pub(crate) fn take_varint(&mut self) -> Option<u64> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        self.take_rest_of_varint(first)
    }

    fn take_rest_of_varint(&mut self, first: u8) -> Option<u64> {
        let mut number = u64::from(first & 0x7F);
        let mut shift = 7_u32;
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7F);
            let shifted = bits.checked_shl(shift)?;
            if shifted >> shift != bits {
                return None;
            }
            number |= shifted;
            if byte < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
    }

    /// Three lengths, each as [`take_varint`](Self::take_varint) reads it.
    #[inline]
    pub(crate) fn take_lens(&mut self) -> Option<[usize; 3]> {
        // Mostly each is one byte, and a search goes through dozens of these.
        if let [one, two, three, rest @ ..] = self.rest
            && (one | two | three) < 0x80
        {
            self.rest = rest;
            return Some([one, two, three].map(|&byte| usize::from(byte)));
        }
        let mut take = || usize::try_from(self.take_varint()?).ok();
        Some([take()?, take()?, take()?])
    }
}

/// Adds what [`Cursor::take_varint`] reads.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low seven bits are what is meant"
)]
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_reads_back_as_it_was() {
        for shift in 0..64 {
            for number in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, number);
                let mut cursor = Cursor::new(&bytes);
                assert_eq!(cursor.take_varint(), Some(number));
                assert!(cursor.is_empty());
                bytes.pop();
                assert_eq!(Cursor::new(&bytes).take_varint(), None);
            }
        }
    }

    #[test]
    fn a_varint_beyond_64_bits_is_refused() {
        assert_eq!(Cursor::new(&[0xFF; 20]).take_varint(), None);
        let mut bytes = [0x80; 10];
        bytes[9] = 2;
        assert_eq!(Cursor::new(&bytes).take_varint(), None);
    }

    #[test]
    fn three_lengths_are_read_whichever_of_them_takes_more_than_a_byte() {
        for lens in [
            [0, 1, 127],
            [128, 2, 3],
            [1, 128, 3],
            [1, 2, 128],
            [300, 20_000, 1 << 40],
            [1 << 14, 2, 3],
            [1, 1 << 14, 3],
            [1 << 21, 2, 3],
        ] {
            let mut bytes = Vec::new();
            for len in lens {
                put_varint(&mut bytes, len);
            }
            bytes.push(9);
            let mut cursor = Cursor::new(&bytes);
            let taken = cursor.take_lens().map(|lens| lens.map(|len| len as u64));
            assert_eq!(taken, Some(lens));
            assert_eq!(cursor.rest(), [9]);
            let short = &bytes[..bytes.len() - 2];
            assert_eq!(Cursor::new(short).take_lens(), None, "{lens:?}");
        }
    }

    #[test]
    fn bytes_are_taken_from_the_front_or_not_at_all() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(cursor.take(2), Some(&[1, 2][..]));
        assert_eq!(cursor.take_u8(), Some(3));
        assert_eq!(cursor.take_u64(), None);
        assert_eq!(cursor.take_u16(), Some(0x0504));
        assert!(!cursor.is_empty());
        assert_eq!(cursor.take(3), None);
        assert_eq!(cursor.rest(), [6, 7]);
        assert_eq!(cursor.take(2), Some(&[6, 7][..]));
        assert!(cursor.is_empty());
    }
}
