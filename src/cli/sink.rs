//! The file an export writes: packed if its name says so, and under its name only once it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::failure::CliFailure;
use super::output::written;

/// Where the lines go: standard output, or a file that is not there until it is complete.
#[derive(Debug)]
pub(crate) struct Sink {
    writer: Writer,
    /// The name of the file while it is written, and the one it is to have.
    file: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug)]
enum Writer {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    StandardOutput(BufWriter<io::Stdout>),
}

impl Sink {
    const BUFFER_LEN: usize = 256 << 10;

    pub(crate) fn open(path: Option<&Path>) -> Result<Self, CliFailure> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self {
                writer: Writer::StandardOutput(BufWriter::with_capacity(
                    Self::BUFFER_LEN,
                    io::stdout(),
                )),
                file: None,
            });
        };
        let Some(name) = path.file_name() else {
            return Err(CliFailure::usage(format!(
                "{} is not the name of a file",
                path.display()
            )));
        };
        let mut partial_name = name.to_owned();
        partial_name.push(".part");
        let partial = path.with_file_name(partial_name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&partial)
            .map_err(|error| {
                CliFailure::because(format!("cannot write {}", partial.display()), &error)
            })?;
        let buffered = BufWriter::with_capacity(Self::BUFFER_LEN, file);
        let packed = path.extension().is_some_and(|extension| extension == "gz");
        Ok(Self {
            writer: if packed {
                Writer::Gzip(GzEncoder::new(buffered, Compression::default()))
            } else {
                Writer::Plain(buffered)
            },
            file: Some((partial, path.to_owned())),
        })
    }

    pub(crate) fn is_standard_output(&self) -> bool {
        self.file.is_none()
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.write_all(bytes),
            Writer::Gzip(writer) => writer.write_all(bytes),
            Writer::StandardOutput(writer) => writer.write_all(bytes),
        }
    }

    /// Gives the file its name, once its bytes are on the disk.
    pub(crate) fn complete(self) -> Result<(), CliFailure> {
        let finished = match self.writer {
            Writer::Plain(writer) => writer.into_inner().map_err(io::IntoInnerError::into_error),
            Writer::Gzip(writer) => writer
                .finish()
                .and_then(|writer| writer.into_inner().map_err(io::IntoInnerError::into_error)),
            Writer::StandardOutput(mut writer) => {
                return written(writer.flush());
            }
        };
        let Some((partial, path)) = self.file else {
            return Ok(());
        };
        finished
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&partial, &path))
            .and_then(|()| sync_directory_of(&path))
            .map_err(|error| {
                let _left_behind = fs::remove_file(&partial);
                CliFailure::because(format!("cannot write {}", path.display()), &error)
            })
    }

    /// Removes what was written so far.
    pub(crate) fn remove(self) {
        if let Some((partial, _)) = self.file {
            let _left_behind = fs::remove_file(partial);
        }
    }

    /// Ends an export whose lines cannot be written.
    pub(crate) fn abandon(self, error: &io::Error) -> Result<(), CliFailure> {
        // `| head` has seen what it wanted.
        if self.is_standard_output() && error.kind() == io::ErrorKind::BrokenPipe {
            return Ok(());
        }
        let what = match &self.file {
            Some((partial, _)) => format!("cannot write {}", partial.display()),
            None => "cannot write to standard output".to_owned(),
        };
        self.remove();
        Err(CliFailure::because(what, error))
    }
}

/// Makes a new name survive a crash.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "a directory of the user's, not of the store"
    )]
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_that_is_given_up_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.ndjson");
        fs::write(&path, "old").unwrap();
        let mut sink = Sink::open(Some(&path)).unwrap();
        sink.write_all(b"new").unwrap();
        sink.remove();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
