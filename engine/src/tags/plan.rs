//! Which of the files in the directory make up the index.

use super::Span;
use super::run::{RunName, TEMPORARY_SUFFIX};

/// What [`plan`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The slots in id order, without gaps: a run, or a segment without one.
    pub(crate) slots: Vec<(Span, Option<RunName>)>,
    /// The files that are no longer needed.
    pub(crate) removed: Vec<String>,
}

/// Arranges the runs among `names` over the sealed segments, given by their first ids and, last, the
/// active segment's.
///
/// - A run that lies within another one is what that one was merged from: the wider one wins.
/// - A run whose first ids have expired is as good as any.
/// - A run that neither begins nor ends where segments do is of another log's making, and one that
///   reaches into the active segment is from before a cut of the log's tail.
pub(crate) fn plan(segments: &[u64], names: impl Iterator<Item = String>) -> Plan {
    let mut plan = Plan::default();
    let (Some(&first), Some(&end)) = (segments.first(), segments.last()) else {
        return plan;
    };
    let is_boundary = |id: u64| segments.binary_search(&id).is_ok();
    let mut runs = Vec::new();
    for name in names {
        match RunName::parse(&name) {
            Some(run) => {
                let Span {
                    first: from,
                    end: to,
                } = run.span;
                let fits = is_boundary(to) && to > first && (from < first || is_boundary(from));
                if fits {
                    runs.push(run);
                } else {
                    plan.removed.push(name);
                }
            }
            None if name.ends_with(TEMPORARY_SUFFIX) => plan.removed.push(name),
            None => {}
        }
    }
    // Of those that begin alike the widest comes first; of the same ones the most often merged.
    runs.sort_by_key(|run| {
        let Span {
            first: from,
            end: to,
        } = run.span;
        (from.max(first), u64::MAX - to, u8::MAX - run.level)
    });
    let mut covered = first;
    for run in runs {
        if run.span.first.max(first) < covered {
            plan.removed.push(run.to_string());
            continue;
        }
        plan.slots
            .extend(missing(segments, covered, run.span.first));
        covered = run.span.end;
        plan.slots.push((run.span, Some(run)));
    }
    plan.slots.extend(missing(segments, covered, end));
    plan
}

/// The segments from `first` up to `end`.
fn missing(
    segments: &[u64],
    first: u64,
    end: u64,
) -> impl Iterator<Item = (Span, Option<RunName>)> {
    spans(segments, Span { first, end }).map(|span| (span, None))
}

/// The segments that lie in `within`, given by their first ids and the end of the last one.
pub(crate) fn spans(segments: &[u64], within: Span) -> impl Iterator<Item = Span> {
    let pairs = segments.iter().zip(segments.iter().skip(1));
    let spans = pairs.map(|(&first, &end)| Span { first, end });
    spans.filter(move |span| !span.is_empty() && within.covers(*span))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENTS: [u64; 6] = [100, 110, 120, 130, 140, 150];

    fn name(first: u64, end: u64, level: u8) -> String {
        let span = Span { first, end };
        RunName { span, level }.to_string()
    }

    /// `want` has the first and last id of each slot, and whether it is a run.
    #[track_caller]
    fn check(names: &[String], want: &[(u64, u64, bool)], removed: &[String]) {
        let plan = plan(&SEGMENTS, names.iter().cloned());
        let slots: Vec<_> = plan
            .slots
            .iter()
            .map(|(span, run)| (span.first, span.end, run.is_some()))
            .collect();
        assert_eq!(slots, want);
        assert_eq!(plan.removed, removed);
    }

    #[test]
    fn segments_without_a_run_are_missing() {
        check(
            &[name(110, 120, 0), "lock".to_owned()],
            &[
                (100, 110, false),
                (110, 120, true),
                (120, 130, false),
                (130, 140, false),
                (140, 150, false),
            ],
            &[],
        );
    }

    #[test]
    fn what_a_run_was_merged_from_goes() {
        let inputs = [name(110, 120, 0), name(100, 110, 0), name(120, 130, 0)];
        let names = [&inputs[..], &[name(100, 130, 1), name(130, 150, 0)]].concat();
        let mut removed = inputs.clone();
        removed.sort();
        check(&names, &[(100, 130, true), (130, 150, true)], &removed);
    }

    #[test]
    fn a_run_that_has_expired_in_part_stays() {
        let gone = [name(60, 100, 0), name(100, 120, 0)];
        check(
            &[name(60, 130, 2), gone[0].clone(), gone[1].clone()],
            &[(60, 130, true), (130, 140, false), (140, 150, false)],
            &gone,
        );
    }

    #[test]
    fn what_fits_no_segments_goes() {
        let names = [
            name(101, 110, 0),
            name(100, 111, 0),
            name(140, 160, 0),
            name(150, 160, 0),
            name(100, 110, 0) + TEMPORARY_SUFFIX,
        ];
        let all = SEGMENTS.windows(2).map(|pair| (pair[0], pair[1], false));
        check(&names, &all.collect::<Vec<_>>(), &names);
    }
}
