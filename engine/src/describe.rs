//! One file of a log as text, for people and for tests.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;

use crate::format::batch::{self, BatchHeader, Mark};
use crate::format::index;
use crate::format::losses::{LossesFault, SegmentLosses};
use crate::format::names::{self, FileName};
use crate::format::record::{self, Record};
use crate::format::segment::{HEADER_LEN, SegmentHeader, SegmentKind};
use crate::segment::describe as fault_text;
use crate::storage::{Access, Storage};
use crate::tags::check_run;

/// Writes a segment, a checkpoint log, a sparse index or an index run as text: each batch and
/// record with its offset and whether its checksum is right, and where the file ends and why. Works
/// on damaged files, and on those of a log that is open.
///
/// # Errors
///
/// [`io::ErrorKind::NotFound`] if there is no such file, [`io::ErrorKind::InvalidInput`] if its name
/// is none of a log's, and whatever `out` reports.
pub fn describe_file(
    storage: &Arc<dyn Storage>,
    name: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let kind = names::parse(name);
    if matches!(
        kind,
        FileName::Lock | FileName::SetAside | FileName::Temporary | FileName::Foreign
    ) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not the name of a segment, index, run, checkpoint log or record of losses",
        ));
    }
    let file = storage.open(name, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()).unwrap_or(usize::MAX)];
    crate::storage::read_exact_at(&*file, 0, &mut bytes)?;
    match kind {
        FileName::Index(_) => describe_index(&bytes, out),
        FileName::Run => describe_run(name, &bytes, out),
        FileName::Losses(_) => describe_losses(&bytes, out),
        FileName::Segment(_)
        | FileName::Checkpoints(_)
        | FileName::Lock
        | FileName::SetAside
        | FileName::Temporary
        | FileName::Foreign => describe_batches(&bytes, out),
    }
}

fn describe_losses(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let losses = match SegmentLosses::decode(bytes) {
        Ok(losses) => losses,
        Err(LossesFault::Damaged) => return writeln!(out, "record of losses: damaged"),
        Err(LossesFault::Newer(version)) => {
            return writeln!(out, "record of losses: of format version {version}");
        }
    };
    let closed = match losses.cut {
        0 => "sealed".to_owned(),
        cut => format!("closed by a repair at offset {cut}"),
    };
    writeln!(
        out,
        "record of losses: of events {} to {}, {closed}",
        losses.first,
        losses.end.get() - 1
    )?;
    for (from, until) in &losses.ranges {
        writeln!(out, "  lost: events {from} to {}", until.get() - 1)?;
    }
    Ok(())
}

fn describe_index(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let Some((head, offsets)) = index::decode(bytes) else {
        return writeln!(out, "sparse index: damaged, to be rebuilt");
    };
    writeln!(
        out,
        "sparse index: events {} to {}, data ends at {}, every {}th offset, {} of them",
        head.first,
        head.end.get() - 1,
        head.data_end,
        index::EVERY,
        offsets.len() / 4
    )
}

fn describe_run(name: &str, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    match check_run(name, bytes) {
        Ok(report) => writeln!(
            out,
            "index run: events {} to {}, {} tags, {} entries, sound",
            report.span.first,
            report.span.end - 1,
            report.tags,
            report.ids
        ),
        Err(damage) => writeln!(
            out,
            "index run: damaged at offset {}: {}; to be rebuilt",
            damage.offset, damage.what
        ),
    }
}

fn describe_batches(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let header = match SegmentHeader::decode(bytes) {
        Ok(header) => header,
        Err(fault) => return writeln!(out, "segment header: {fault:?}"),
    };
    let kind = match header.kind {
        SegmentKind::Events => "events",
        SegmentKind::Checkpoints => "checkpoints",
    };
    writeln!(
        out,
        "segment of {kind}, first id {}, log {}, made at {} us",
        header.first,
        hex(&header.log_id),
        header.created_us
    )?;
    let masks = header.masks();
    let mut previous = header.checksum();
    let mut offset = HEADER_LEN;
    while let Some(rest) = bytes.get(offset..) {
        if rest.iter().all(|byte| *byte == 0) {
            writeln!(out, "{offset:>10}  end: {} bytes of zeros", rest.len())?;
            break;
        }
        if let Some((batch, checksum)) = BatchHeader::decode(rest, masks) {
            let chained = batch.previous == previous;
            describe_batch(offset, &batch, chained, out)?;
            previous = checksum;
            offset += batch::HEADER_LEN;
        } else {
            match record::decode(rest, masks.record) {
                Ok((record, len)) => {
                    describe_record(offset, len, &record, out)?;
                    offset += len;
                }
                Err(fault) => {
                    let skipped = next_whole(bytes, &header, offset);
                    writeln!(
                        out,
                        "{offset:>10}  unreadable: {}; {} bytes skipped",
                        fault_text(fault),
                        skipped - offset
                    )?;
                    offset = skipped;
                }
            }
        }
    }
    Ok(())
}

fn describe_batch(
    offset: usize,
    batch: &BatchHeader,
    chained: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let what = match (batch.record_count, batch.mark) {
        (0, Mark::Synced) => "mark".to_owned(),
        (0, Mark::Clean) => "mark of a clean stop".to_owned(),
        (0, Mark::Seal) => "seal".to_owned(),
        (count, _) => format!("batch of {count}"),
    };
    let chain = if chained { "" } else { ", out of chain" };
    writeln!(
        out,
        "{offset:>10}  {what}, {} bytes, id {}, synced to {}, salt {:08x}{chain}",
        batch.len, batch.first, batch.synced_to, batch.salt
    )
}

fn describe_record(
    offset: usize,
    len: usize,
    record: &Record<'_>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut tags = String::new();
    for (tag, rank) in record.tags() {
        // Writing to a string cannot fail.
        let _written = write!(tags, " {}#{rank}", tag.escape_ascii());
    }
    writeln!(
        out,
        "{offset:>10}    id {}, {len} bytes, at {} us, body {}{tags}",
        record.id,
        record.recorded_at_us,
        record.body.len()
    )
}

/// The next offset where something whole begins, or the end of the file.
fn next_whole(bytes: &[u8], header: &SegmentHeader, offset: usize) -> usize {
    let masks = header.masks();
    let mut offset = offset;
    loop {
        offset += crate::format::ALIGNMENT;
        let Some(rest) = bytes.get(offset..) else {
            return bytes.len();
        };
        let is_whole = BatchHeader::decode(rest, masks).is_some()
            || record::decode(rest, masks.record).is_ok();
        if is_whole || rest.is_empty() {
            return offset;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _written = write!(text, "{byte:02x}");
        text
    })
}
