//! The name of a run file.

use std::fmt;

use crate::tags::Span;

/// What a file that is not finished has behind its name.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Which ids a run file answers for, and how often they were merged. See FORMAT.md, section 9.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunName {
    pub(crate) span: Span,
    pub(crate) level: u8,
}

impl RunName {
    /// `None` for any other name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (span, level) = name.strip_suffix(".tags")?.split_once('.')?;
        let (first, last) = span.split_once('-')?;
        let parsed = Self {
            span: Span {
                first: first.parse().ok()?,
                end: last.parse::<u64>().ok()?.checked_add(1)?,
            },
            level: level.parse().ok()?,
        };
        // One name for one run: no leading zeros or signs beyond the form.
        let is_ours = !parsed.span.is_empty() && parsed.to_string() == name;
        is_ours.then_some(parsed)
    }

    pub(crate) fn temporary(&self) -> String {
        format!("{self}{TEMPORARY_SUFFIX}")
    }
}

/// The ids that the run file of this name answers for; `None` for any other name.
pub(crate) fn run_span(name: &str) -> Option<Span> {
    RunName::parse(name).map(|run| run.span)
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { span, level } = self;
        let last = span.end.saturating_sub(1);
        write!(f, "{:020}-{last:020}.{level}.tags", span.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_as_it_was() {
        let name = RunName {
            span: Span {
                first: 17,
                end: 1025,
            },
            level: 12,
        };
        let text = "00000000000000000017-00000000000000001024.12.tags";
        assert_eq!(name.to_string(), text);
        assert_eq!(RunName::parse(text), Some(name));
    }

    #[test]
    fn other_names_are_not_runs() {
        for text in [
            "lock",
            ".tags",
            "1-2.0.tags",
            "00000000000000000017-00000000000000000016.0.tags",
            "00000000000000000017-00000000000000001024.+1.tags",
            "00000000000000000017-00000000000000001024.0.tags.tmp",
            "00000000000000000017-00000000000000001024.256.tags",
            "00000000000000000017-18446744073709551615.0.tags",
        ] {
            assert_eq!(RunName::parse(text), None, "{text}");
        }
    }
}
