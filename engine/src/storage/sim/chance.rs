//! The seeded choices of the simulated disk.

/// What a power cut leaves of everything that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: what was synced and no more.
    Nothing,
    /// Everything, except what a failed sync has forgotten.
    All,
    /// In each file the first half of the sectors, in each directory the older half of the changes.
    FirstHalf,
    /// In each file the second, fourth, ... sector, in each directory the second, fourth, ...
    /// change: good bytes behind missing ones.
    EveryOther,
    /// A choice for each sector, length and name, decided by the seed: kept, lost, an earlier
    /// version, or torn.
    Random(u64),
}

impl Left {
    /// Whether this leaves the `index`th of `count` things; nothing said if chance has to decide.
    pub(super) fn keeps(self, index: usize, count: usize) -> Option<bool> {
        match self {
            Self::Nothing => Some(false),
            Self::All => Some(true),
            Self::FirstHalf => Some(index < count.div_ceil(2)),
            Self::EveryOther => Some(index % 2 == 1),
            Self::Random(_) => None,
        }
    }

    /// The source of chance for the thing numbered `number`.
    pub(super) fn chance(self, number: usize) -> Chance {
        let seed = match self {
            Self::Random(seed) => seed,
            Self::Nothing | Self::All | Self::FirstHalf | Self::EveryOther => 0,
        };
        Chance::new(seed, number as u64)
    }
}

/// Random numbers, the same for the same seed on every machine (SplitMix64).
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// A source of its own for each `number` of each `seed`.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let start = Self(seed).next();
        Self(start ^ Self(number.wrapping_add(1)).next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0. The bias of the remainder does not matter here.
    pub(super) fn below(&mut self, end: usize) -> usize {
        match self.next().checked_rem(end as u64) {
            Some(number) => usize::try_from(number).unwrap_or(0),
            None => 0,
        }
    }

    /// True `times` times in 256.
    pub(super) fn likely(&mut self, times: usize) -> bool {
        self.below(256) < times
    }

    /// How much the disk has got round to before the power went: all or nothing at either end,
    /// so that clean outcomes turn up beside the wild ones.
    pub(super) fn progress(&mut self) -> usize {
        const OF_256: [usize; 5] = [0, 32, 128, 224, 256];
        let choice = self.below(OF_256.len());
        OF_256.get(choice).copied().unwrap_or(128)
    }
}
