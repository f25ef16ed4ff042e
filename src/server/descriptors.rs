//! How many connections the system's limit on open files leaves room for.
//!
//! A connection is a descriptor, and so is each file of a log. If idle clients could use up the
//! last one, a log that needs its next file would fail, and take no more writes.

use std::fs;

/// What is kept for files, for calls of others and for the runtime, in descriptors: some for each of
/// the logs, of which most servers have a few.
const RESERVED: usize = 256;

/// The connections that may be open at a time, `wanted` if there is room for as many.
pub(super) fn fit(wanted: usize) -> usize {
    // Where the system does not say, accepts that fail are tried again all the same.
    let limit = fs::read_to_string("/proc/self/limits")
        .ok()
        .and_then(|limits| open_files_max(&limits));
    let room = limit.map_or(wanted, room);
    if room < wanted {
        tracing::info!(
            connections = room,
            "the limit on open files (ulimit -n) allows fewer connections than the server's own"
        );
    }
    wanted.min(room)
}

/// What a limit leaves for connections: all but what is reserved, half if that is too much.
fn room(limit: usize) -> usize {
    (limit - RESERVED.min(limit / 2)).max(1)
}

/// The soft limit on open files in the text of `/proc/self/limits`; none if there is no limit.
fn open_files_max(limits: &str) -> Option<usize> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_some_descriptors_whatever_the_limit() {
        for (limit, want) in [
            (0, 1),
            (1, 1),
            (64, 32),
            (512, 256),
            (1_024, 768),
            (65_536, 65_280),
        ] {
            assert_eq!(room(limit), want, "{limit}");
        }
    }

    #[test]
    fn the_soft_limit_is_the_one_that_counts() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
            Max processes             31354                31354                processes\n\
            Max open files            1024                 1048576              files\n";
        assert_eq!(open_files_max(limits), Some(1_024));
        let unlimited =
            "Max open files            unlimited            unlimited            files\n";
        assert_eq!(open_files_max(unlimited), None);
        assert_eq!(open_files_max(""), None);
        assert!(fit(usize::MAX) >= 1);
    }
}
