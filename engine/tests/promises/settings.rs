//! How much the tests look at: every setting, and what it is in a run of each length.

/// A number that a test takes from its surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The environment variable that sets it.
    pub(crate) name: &'static str,
    /// Its values in an everyday run, in the run before a change is taken, and in a long run.
    values: [u64; 3],
    /// What it counts.
    #[allow(dead_code, reason = "for people, and for the test of the README")]
    pub(crate) counts: &'static str,
}

const fn is(name: &'static str, values: [u64; 3], counts: &'static str) -> Setting {
    Setting {
        name,
        values,
        counts,
    }
}

/// All of them. `STRANDLOG_TEST_LENGTH` (`everyday`, `ci` or `long`) picks the column, and a
/// variable of its own name overrides each.
#[rustfmt::skip]
pub(crate) const SETTINGS: &[Setting] = &[
    //                               everyday      ci       long
    is("STRANDLOG_TEST_SCRIPTS",        [  2,       4,         6], "scripts that are cut at each step"),
    is("STRANDLOG_TEST_STEPS_EVERY",    [  7,       1,         1], "of how many steps one is cut"),
    is("STRANDLOG_TEST_LEFTOVERS",      [  3,      16,        16], "what is left after each cut"),
    is("STRANDLOG_TEST_RECOVERY_CUTS",  [ 60,   1_000,     5_000], "seeds of cuts during recovery, three deep"),
    is("STRANDLOG_TEST_MIXED",          [ 80,   4_000,   100_000], "seeds of failing calls, kills and cuts in any order"),
    is("STRANDLOG_TEST_FAULT_SCRIPTS",  [  2,       7,        12], "scripts of which calls fail"),
    is("STRANDLOG_TEST_FAULTS_EVERY",   [ 31,       1,         1], "of how many failures one is played"),
    is("STRANDLOG_TEST_CHECKED_KIB",    [ 24,   9_400,    68_000], "the log of which every bit is flipped and checked, in KiB"),
    is("STRANDLOG_TEST_LOG_KIB",        [ 24,     512,     2_048], "the log of which every bit is flipped and read, in KiB"),
    is("STRANDLOG_TEST_SAMPLED_FLIPS",  [ 20,   5_000,   100_000], "flips in that log of which every reader is asked"),
    is("STRANDLOG_TEST_BITS_EVERY",     [ 19,       1,         1], "of how many bits of a small log one is flipped"),
    is("STRANDLOG_TEST_BLOCKS",         [ 30,  10_000,    10_000], "blocks of each kind that are wrong"),
    is("STRANDLOG_TEST_FILES",          [ 12,  10_000,    10_000], "files of each kind that are wrong"),
    is("STRANDLOG_TEST_LENGTHS_EVERY",  [ 97,       1,         1], "of how many lengths one is truncated to"),
    is("STRANDLOG_TEST_REPAIR_BITS_EVERY",[ 61,   23,         3], "of how many bits of a small log one is flipped before a repair"),
    is("STRANDLOG_TEST_REPAIR_BLOCKS",  [ 60,     200,     2_000], "blocks of each kind that are wrong before a repair"),
    is("STRANDLOG_TEST_REPAIR_LEFTOVERS",[ 1,       2,        16], "what is left after each cut of a repair"),
    is("STRANDLOG_TEST_REPAIR_FAULTS",  [  1,       2,         4], "ways in which each call of a repair fails"),
    is("STRANDLOG_TEST_TORN_PAIRS",     [600, 130_000, 130_000], "pairs of a torn tail and a damaged one"),
    is("STRANDLOG_TEST_CASES",          [ 40,  10_000,   100_000], "sequences of operations beside the model"),
    is("STRANDLOG_TEST_TAG_CASES",      [ 60,   1_000,    20_000], "sequences of operations on the tag index beside a twin"),
    is("STRANDLOG_TEST_TAG_STEPS_EVERY",[  7,       1,         1], "of how many steps of the tag index, or bytes of a run, one is hit"),
    is("STRANDLOG_TEST_PUBLISHES",      [2_000, 10_000,   10_000], "publishes around the death of a server"),
    is("STRANDLOG_TEST_MOVES",          [4_000, 10_000,   10_000], "moves of each of ten offsets"),
    is("STRANDLOG_TEST_FLIGHTS",        [4_000, 20_000,   20_000], "lines of the data set of flights"),
    is("STRANDLOG_TEST_SEED",           [  0,       0, 1_000_000], "the first seed"),
    is("STRANDLOG_TEST_THREADS",        [  1,       0,         0], "threads of a sweep; 0: one a core"),
];

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// After every change of a line.
    Everyday,
    /// Before a change is taken.
    Ci,
    /// From time to time.
    Long,
}

impl Length {
    /// Of this run.
    pub(crate) fn now() -> Self {
        match std::env::var("STRANDLOG_TEST_LENGTH").as_deref() {
            Err(_) | Ok("everyday") => Self::Everyday,
            Ok("ci") => Self::Ci,
            Ok("long") => Self::Long,
            Ok(other) => {
                panic!("STRANDLOG_TEST_LENGTH is everyday, ci or long, and not {other:?}")
            }
        }
    }

    /// The value for this length.
    pub(crate) fn of(self, [everyday, ci, long]: [u64; 3]) -> u64 {
        match self {
            Self::Everyday => everyday,
            Self::Ci => ci,
            Self::Long => long,
        }
    }
}

/// The value of a setting in this run.
pub(crate) fn setting(name: &str) -> u64 {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let setting = setting.unwrap_or_else(|| panic!("{name} is in no table"));
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}")),
        Err(_) => Length::now().of(setting.values),
    }
}
