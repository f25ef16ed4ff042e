//! `dump`: one file of a log as text, without a server and without changing anything.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use strandlog_engine::describe_file;
use strandlog_engine::storage::{DiskStorage, Storage};

use super::failure::CliFailure;

/// What `dump` takes.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DumpArgs {
    /// The file: a segment, an index, an index run or a checkpoint log
    segment: PathBuf,
}

const EXAMPLES: &str = "\
Shows batches and records with their offsets, whether their checksums are right, and where and why
the file ends. Damaged files are shown too, and files that a server is using.

Examples:
  ls strandlog-data/logs/default
  strandlog dump strandlog-data/logs/default/FILE | less";

/// Runs `dump`.
///
/// # Errors
///
/// A file that cannot be read, or whose name is none of a log's.
pub(crate) fn run(args: &DumpArgs) -> Result<(), CliFailure> {
    let path = &args.segment;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(CliFailure::usage(format!(
            "{} is not the name of a file of a log",
            path.display()
        )));
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = DiskStorage::open(directory).and_then(|storage| {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        describe_file(&storage, name, &mut out)?;
        out.flush()
    });
    match outcome {
        // `| head` has seen what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(CliFailure::because(
            format!("cannot show {}", path.display()),
            &error,
        )),
        Ok(()) => Ok(()),
    }
}
