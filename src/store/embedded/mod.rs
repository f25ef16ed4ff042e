//! The store in this process: one data directory, one engine log for each log in it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use strandlog_engine::OpenError;
use strandlog_engine::storage::Storage;

use crate::clock::Clock;

use super::{CreateError, Durability, LogName, LogStore, Pending, Store};

/// How a data directory is opened.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The durability of publishes that ask for none.
    pub durability: Durability,
    /// Bytes of a segment file.
    pub segment_len: u64,
    /// The clock for the records' times.
    pub clock: Arc<dyn Clock>,
}

/// Logs in a data directory.
#[derive(Debug)]
pub struct EmbeddedStore(());

/// Why a data directory could not be opened. One line each; nothing on disk was changed.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another process, or another part of this one, has it open.
    InUse,
    /// It is not empty, and not a data directory.
    NotOurs {
        /// A name in it.
        name: String,
    },
    /// It was written by a newer version.
    Newer {
        /// Its format version.
        version: u32,
    },
    /// It cannot be written to.
    NotWritable(std::io::Error),
    /// The disk failed, or the directory cannot be read.
    Io(std::io::Error),
    /// A log in it could not be opened.
    Log {
        /// Which.
        name: LogName,
        /// Why.
        error: OpenError,
    },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f;
        todo!()
    }
}

impl std::error::Error for DirectoryError {}

impl EmbeddedStore {
    /// Opens the data directory at `path`, creating it if there is none. Blocks.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; nothing on disk was changed.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self, DirectoryError> {
        let _ = (path, options);
        todo!()
    }

    /// Opens a data directory on any storage. Blocks.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; nothing on disk was changed.
    pub fn open_on(
        storage: Arc<dyn Storage>,
        options: EmbeddedOptions,
    ) -> Result<Self, DirectoryError> {
        let _ = (storage, options);
        todo!()
    }
}

impl Store for EmbeddedStore {
    fn names(&self) -> Vec<LogName> {
        todo!()
    }

    fn log(&self, name: &str) -> Option<Arc<dyn LogStore>> {
        let _ = name;
        todo!()
    }

    fn create(&self, name: LogName) -> Pending<'_, Result<(Arc<dyn LogStore>, bool), CreateError>> {
        let _ = name;
        todo!()
    }

    fn close(&self) -> Pending<'_, ()> {
        todo!()
    }
}
