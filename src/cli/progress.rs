//! How far a long command is: a bar on a terminal, silence elsewhere.

use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// A bar on standard error. It draws only if that is a terminal, so a log file or a pipe never sees
/// it.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// How often the bar moves without news, so that a wait looks like one.
    const TICK: Duration = Duration::from_millis(200);

    /// A bar up to `end`; without one only the message and the time are shown.
    pub(crate) fn up_to(end: Option<u64>) -> Self {
        let (bar, template) = match end {
            Some(end) => (
                ProgressBar::new(end),
                "{bar:32} {percent:>3} %  {msg}  {elapsed} (about {eta} left)",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(Self::TICK);
        }
        Self(bar)
    }

    /// Moves the bar to `position` and shows how many events that is, and how many a second.
    pub(crate) fn events(&self, position: u64, events: u64) {
        self.0.set_position(position);
        if !self.0.is_hidden() {
            self.0.set_message(format!(
                "{} events, {}/s",
                HumanCount(events),
                HumanCount(per_second(events, self.0.elapsed()))
            ));
        }
    }

    /// Moves the bar to `position` of `end`, and says what is being done.
    pub(crate) fn bytes(&self, position: u64, end: u64, what: &str) {
        self.0.set_length(end);
        self.0.set_position(position);
        if !self.0.is_hidden() {
            self.0.set_message(what.to_owned());
        }
    }

    /// Says something on standard error without tearing the bar.
    pub(crate) fn note(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes the bar away.
    pub(crate) fn done(&self) {
        self.0.finish_and_clear();
    }
}

/// How many a second that is; all of them, if it took no time.
pub(crate) fn per_second(count: u64, took: Duration) -> u64 {
    let micros = took.as_micros().max(1);
    u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_need_neither_time_nor_small_numbers() {
        assert_eq!(per_second(10, Duration::from_secs(2)), 5);
        assert_eq!(per_second(u64::MAX, Duration::ZERO), u64::MAX);
    }
}
