//! The names of a log's files (FORMAT.md, section 3).

use crate::position::EventId;

/// The name under which the next segment is made ready.
pub(crate) const PREPARED: &str = "prepared.tmp";
/// The name of the lock file.
pub(crate) const LOCK: &str = "lock";

/// What a file's name says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    /// The lock file.
    Lock,
    /// A segment, by the id of its first record.
    Segment(EventId),
    /// The sparse index of that segment.
    Index(EventId),
    /// A run of the tag index; its name is read by `tags`.
    Run,
    /// A checkpoint log, by the number of its first record.
    Checkpoints(EventId),
    /// What a segment is known to have lost, by the id of its first record.
    Losses(EventId),
    /// A file that repair has put aside: no part of the log any more.
    SetAside,
    /// Something that was being made when the process ended.
    Temporary,
    /// A name that is none of a log's.
    Foreign,
}

/// Reads a name.
pub(crate) fn parse(name: &str) -> FileName {
    if name == LOCK {
        return FileName::Lock;
    }
    match name.rsplit_once('.') {
        Some((_, "tmp")) => FileName::Temporary,
        Some((_, "tags")) => FileName::Run,
        Some((_, "damaged")) => FileName::SetAside,
        Some((number, "lost")) => parse_number(number).map_or(FileName::Foreign, FileName::Losses),
        Some((number, "seg")) => parse_number(number).map_or(FileName::Foreign, FileName::Segment),
        Some((number, "idx")) => parse_number(number).map_or(FileName::Foreign, FileName::Index),
        Some((number, "ckp")) => {
            parse_number(number).map_or(FileName::Foreign, FileName::Checkpoints)
        }
        Some(_) | None => FileName::Foreign,
    }
}

fn parse_number(text: &str) -> Option<EventId> {
    if text.len() != 20 {
        return None;
    }
    text.parse().ok()
}

pub(crate) fn segment(first: EventId) -> String {
    format!("{:020}.seg", first.get())
}

/// The name of a segment that has expired: it is not part of the log any more, and may come back
/// under its own name only if this one does not survive.
pub(crate) fn leaving(first: EventId) -> String {
    format!("{:020}.seg.tmp", first.get())
}

/// The first id of the expired segment with this name.
pub(crate) fn parse_leaving(name: &str) -> Option<EventId> {
    parse_number(name.strip_suffix(".seg.tmp")?)
}

pub(crate) fn index(first: EventId) -> String {
    format!("{:020}.idx", first.get())
}

pub(crate) fn losses(first: EventId) -> String {
    format!("{:020}.lost", first.get())
}

/// The name of the `number`-th file that was put aside when `name` was replaced.
pub(crate) fn set_aside(name: &str, number: u64) -> String {
    format!("{name}.{number}.damaged")
}

pub(crate) fn checkpoints(first: EventId) -> String {
    format!("{:020}.ckp", first.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_are_written() {
        let id = EventId::new(4_097).unwrap();
        assert_eq!(parse(&segment(id)), FileName::Segment(id));
        assert_eq!(parse(&index(id)), FileName::Index(id));
        assert_eq!(parse(&checkpoints(id)), FileName::Checkpoints(id));
        assert_eq!(parse(&losses(id)), FileName::Losses(id));
        assert_eq!(parse(&set_aside(&segment(id), 1)), FileName::SetAside);
        assert_eq!(parse(PREPARED), FileName::Temporary);
        assert_eq!(parse(LOCK), FileName::Lock);
    }

    #[test]
    fn other_names_are_foreign() {
        for name in ["", "x", "1.seg", "00000000000000000000.seg", "notes.txt"] {
            assert_eq!(parse(name), FileName::Foreign, "{name:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_format_page() {
        let id = EventId::new(4_097).unwrap();
        let names = [
            segment(id),
            leaving(id),
            index(id),
            losses(id),
            checkpoints(id),
            set_aside("lock", 3),
        ];
        let want = [
            "00000000000000004097.seg",
            "00000000000000004097.seg.tmp",
            "00000000000000004097.idx",
            "00000000000000004097.lost",
            "00000000000000004097.ckp",
            "lock.3.damaged",
        ];
        assert_eq!(names, want);
        let run = "00000000000000000001-00000000000000004096.0.tags";
        assert_eq!(parse(run), FileName::Run);
    }

    #[test]
    fn only_a_segment_on_its_way_out_is_called_so() {
        let id = EventId::new(4_097).unwrap();
        assert_eq!(parse_leaving(&leaving(id)), Some(id));
        assert_eq!(parse(&leaving(id)), FileName::Temporary);
        for name in [PREPARED, "4097.seg.tmp", &segment(id), &index(id)] {
            assert_eq!(parse_leaving(name), None, "{name:?}");
        }
    }
}
