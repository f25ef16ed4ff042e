//! A directory whose syncs are not believed any more once one of them has failed.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Access, DirectoryLock, Entry, Storage, StorageFile};

/// Passes everything on, and remembers the first failed [`Storage::sync_names`].
///
/// Such a failure is reported once, and says nothing about whose names it concerns: the kernel may
/// take all of them for clean, also those that another thread has changed meanwhile and is about to
/// sync. So every later sync fails, too, until the directory is opened again; and they take turns,
/// so that none begins between a failure and the note of it.
pub(crate) struct WatchedNames {
    directory: Arc<dyn Storage>,
    trouble: Arc<NameTrouble>,
    #[cfg(feature = "sabotage")]
    sabotage: Option<crate::Sabotage>,
}

/// Whether the names of a directory can still be made durable.
#[derive(Debug, Default)]
pub(crate) struct NameTrouble {
    /// Held during a sync.
    turn: Mutex<()>,
    first: Mutex<Option<Arc<str>>>,
}

impl NameTrouble {
    /// The first failure, if there was one.
    pub(crate) fn first(&self) -> Option<Arc<str>> {
        self.first.lock().clone()
    }
}

impl WatchedNames {
    pub(crate) fn new(directory: Arc<dyn Storage>) -> Self {
        Self {
            directory,
            trouble: Arc::default(),
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    pub(crate) fn trouble(&self) -> Arc<NameTrouble> {
        Arc::clone(&self.trouble)
    }

    #[cfg(feature = "sabotage")]
    pub(crate) fn planted(mut self, options: &crate::Options) -> Self {
        self.sabotage = options.sabotage;
        self
    }
}

impl fmt::Debug for WatchedNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.directory.fmt(f)
    }
}

impl Storage for WatchedNames {
    fn lock(&self) -> io::Result<DirectoryLock> {
        self.directory.lock()
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.directory.list()
    }

    fn create(&self, name: &str, len: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.directory.create(name, len)
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.directory.open(name, access)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.directory.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.directory.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        #[cfg(feature = "sabotage")]
        if self.sabotage == Some(crate::Sabotage::NoNameSync) {
            return Ok(());
        }
        let _turn = self.trouble.turn.lock();
        if let Some(why) = self.trouble.first() {
            let what = format!("an earlier sync of the directory failed ({why})");
            return Err(io::Error::other(what));
        }
        #[cfg(feature = "sabotage")]
        if self.sabotage == Some(crate::Sabotage::FailedNameSyncForgiven) {
            return self.directory.sync_names();
        }
        self.directory.sync_names().inspect_err(|error| {
            *self.trouble.first.lock() = Some(Arc::from(error.to_string()));
        })
    }

    fn directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        self.directory.directory(name)
    }

    fn create_directory(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        self.directory.create_directory(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim::{Fault, Repeat, SimDisk};

    #[test]
    fn no_sync_is_believed_after_one_has_failed() {
        let disk = SimDisk::new();
        let names = WatchedNames::new(disk.root());
        names.create("a", 1).unwrap();
        names.sync_names().unwrap();
        assert!(names.trouble().first().is_none());
        disk.fail_at(disk.steps() + 1, Fault::Eio, Repeat::Once);
        names.create("b", 1).unwrap();
        names.sync_names().unwrap_err();
        assert!(names.trouble().first().is_some());
        let steps = disk.steps();
        let again = names.sync_names().unwrap_err();
        assert!(again.to_string().contains("earlier"), "{again}");
        assert_eq!(disk.steps(), steps, "the disk is not asked again");
    }
}
