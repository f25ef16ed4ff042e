//! The `strandlog` binary: see `strandlog --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    strandlog::cli::main()
}
