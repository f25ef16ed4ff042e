//! A file system of our own whose power can be cut at any call, in the middle of the server's work.
//!
//! At the cut the disk decides what is left, and every call after it waits. The server is killed
//! while it waits, so it never learns more than a machine without power would; then the file system
//! is mounted anew, without the kernel's caches, and shows what was left.

mod disk;
mod fuse;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};
use rustix::mount::{UnmountFlags, unmount};

use crate::random::Random;
pub(crate) use disk::Damage;
use disk::Disk;

/// Which promise of the disk is broken on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Lie {
    /// None.
    #[default]
    None,
    /// The sync of a file does nothing.
    Files,
    /// The sync of a directory does nothing.
    Names,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    random: Random,
    lie: Lie,
    /// Calls that change something, so far.
    changes: u64,
    /// The power is cut at this change.
    cut_at: Option<u64>,
    /// The power is cut: nothing is answered.
    is_cut: bool,
    /// Nobody is left who could be misled: everything is answered with an error.
    is_over: bool,
    /// Writes and syncs fail.
    writes_fail: bool,
    /// Reads from this offset on, of files whose names end so, fail.
    bad_reads: Option<(String, u64)>,
    cuts: u64,
    failed: u64,
}

/// The disk and its power switch; survives mounts.
#[derive(Clone, Debug)]
pub(crate) struct CrashFs {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

/// It is mounted; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    session: Option<BackgroundSession>,
    path: std::path::PathBuf,
    fs: CrashFs,
}

impl CrashFs {
    /// An empty disk.
    pub(crate) fn new(seed: u64, lie: Lie) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                disk: Disk::new(),
                random: Random::new(seed),
                lie,
                changes: 0,
                cut_at: None,
                is_cut: false,
                is_over: false,
                writes_fail: false,
                bad_reads: None,
                cuts: 0,
                failed: 0,
            })),
            changed: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Mounts it, with the power on.
    pub(crate) fn mount(&self, path: &Path) -> Result<Mounted, String> {
        {
            let mut state = self.state();
            state.is_cut = false;
            state.is_over = false;
            state.cut_at = None;
        }
        std::fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("crashfs".to_owned())];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(fuse::Face(self.clone()), path, &config)
            .map_err(|error| format!("cannot mount crashfs: {error}"))?;
        Ok(Mounted {
            session: Some(session),
            path: path.to_owned(),
            fs: self.clone(),
        })
    }

    /// Cuts the power at the `count`th change from here on.
    pub(crate) fn cut_after(&self, count: u64) {
        let mut state = self.state();
        state.cut_at = Some(state.changes + count);
    }

    /// Cuts the power if it is on.
    pub(crate) fn cut(&self) {
        let mut state = self.state();
        if !state.is_cut {
            state.lose_power();
        }
        self.changed.notify_all();
    }

    /// Waits for the cut; whether it came.
    pub(crate) fn await_cut(&self, patience: Duration) -> bool {
        let state = self.state();
        let waited = self
            .changed
            .wait_timeout_while(state, patience, |state| !state.is_cut);
        waited.is_ok_and(|(state, _)| state.is_cut)
    }

    /// Lets the calls go that wait since the cut, with an error. Whoever made them must have been
    /// killed.
    pub(crate) fn release(&self) {
        self.state().is_over = true;
        self.changed.notify_all();
    }

    /// Has writes and syncs fail, or not any more. What was written before stays to be synced: a sync of
    /// one file that fails must not take back what another one is told to be safe.
    pub(crate) fn fail_writes(&self, fail: bool) {
        self.state().writes_fail = fail;
    }

    /// Has reads fail from `offset` on in files whose names end with `suffix`.
    pub(crate) fn fail_reads(&self, suffix: &str, offset: u64) {
        self.state().bad_reads = Some((suffix.to_owned(), offset));
    }

    /// Cuts so far, calls that were answered with an error on purpose, and what the cuts did.
    pub(crate) fn figures(&self) -> (u64, u64, Damage) {
        let state = self.state();
        (state.cuts, state.failed, state.disk.damage)
    }

    /// Has the sync of files do nothing from here on, or be honest again.
    pub(crate) fn lie_about_files(&self, lie: bool) {
        self.state().lie = if lie { Lie::Files } else { Lie::None };
    }
}

impl State {
    fn lose_power(&mut self) {
        self.disk.cut(&mut self.random);
        self.is_cut = true;
        self.cuts += 1;
    }
}

impl Mounted {
    /// See [`CrashFs::release`].
    pub(crate) fn release(&self) {
        self.fs.release();
    }

    /// Unmounts. Nobody may use it any more.
    pub(crate) fn unmount(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        self.fs.release();
        // Processes that were killed may take a moment to let go.
        let busy = || unmount(&self.path, UnmountFlags::empty()).is_err();
        for _ in 0..100 {
            if !busy() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let _gone = unmount(&self.path, UnmountFlags::DETACH);
        // Its thread ends with the last user; it is not worth waiting for.
        drop(session);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.end();
    }
}
