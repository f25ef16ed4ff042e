//! Latencies and how they are told.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::failure::CliFailure;

/// How long each of many things took.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    /// The longest that is told apart, in microseconds: an hour, more than any time limit.
    const MICROS_MAX: u64 = 3_600_000_000;
    /// Decimal digits that are kept: errors below one in a thousand.
    const DIGITS: u8 = 3;

    pub(super) fn new() -> Result<Self, CliFailure> {
        Histogram::new_with_bounds(1, Self::MICROS_MAX, Self::DIGITS)
            .map(Self)
            .map_err(|error| CliFailure::because("cannot keep latencies", &error))
    }

    pub(super) fn record(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, and adding fails only on a value beyond them.
        let _same_bounds = self.0.add(&other.0);
    }

    pub(super) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.0.value_at_quantile(0.5),
            p99: self.0.value_at_quantile(0.99),
            p999: self.0.value_at_quantile(0.999),
            max: self.0.max(),
        }
    }
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Percentiles {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}  p99 {}  p99.9 {}  max {}",
            Micros(self.p50),
            Micros(self.p99),
            Micros(self.p999),
            Micros(self.max)
        )
    }
}

/// A duration in microseconds, shown in the unit that suits it.
struct Micros(u64);

impl fmt::Display for Micros {
    #[expect(
        clippy::cast_precision_loss,
        reason = "three digits are shown, and a bench lasts hours at most"
    )]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            micros @ 0..1_000 => write!(f, "{micros} µs"),
            micros @ 1_000..1_000_000 => write!(f, "{:.2} ms", micros as f64 / 1e3),
            micros => write!(f, "{:.2} s", micros as f64 / 1e6),
        }
    }
}

/// Millions of bytes a second.
#[expect(
    clippy::cast_precision_loss,
    reason = "three digits are shown, and a bench moves less than 2^53 bytes"
)]
pub(super) fn megabytes_per_second(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_cover_everything_that_was_recorded_and_merged() {
        let mut latencies = Latencies::new().unwrap();
        let mut others = Latencies::new().unwrap();
        for micros in 1..=500 {
            latencies.record(Duration::from_micros(micros));
            others.record(Duration::from_micros(500 + micros));
        }
        latencies.merge(&others);
        assert_eq!(
            latencies.percentiles(),
            Percentiles {
                p50: 500,
                p99: 990,
                p999: 999,
                max: 1_000
            }
        );
    }

    #[test]
    fn latencies_are_shown_in_the_unit_that_suits_them() {
        let shown = [999, 1_500, 2_000_000].map(|micros| Micros(micros).to_string());
        assert_eq!(shown, ["999 µs", "1.50 ms", "2.00 s"]);
    }
}
