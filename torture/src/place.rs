//! The directory in which everything happens, and everything outside it that has to be given back:
//! mounts, loop devices, control groups.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What the names of our directories begin with; the process id follows.
const PREFIX: &str = "strandlog-torture-";

/// A directory that is removed when it is dropped, or a part of one, which goes with the whole.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    is_part: bool,
}

impl Place {
    /// A new directory in `base`. What earlier runs left there, because they were killed, is
    /// cleaned up first.
    pub(crate) fn new(base: &Path) -> io::Result<Self> {
        sweep(base);
        let root = base.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&root)?;
        Ok(Self {
            root: root.canonicalize()?,
            is_part: false,
        })
    }

    /// A place within this one, for somebody who works beside others.
    pub(crate) fn part(&self, name: &str) -> io::Result<Self> {
        let root = self.fresh(name)?;
        Ok(Self {
            root,
            is_part: true,
        })
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// An empty directory of that name.
    pub(crate) fn fresh(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_part {
            clear(&self.root);
        }
    }
}

/// Cleans up after runs whose process is gone.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if let Some(pid) = pid
            && pid.parse::<u32>().is_ok()
            && !Path::new("/proc").join(pid).exists()
        {
            clear(&entry.path());
        }
    }
}

/// Ends who works at `root`, and unmounts, detaches and removes whatever is there.
fn clear(root: &Path) {
    for process in processes_of(root) {
        let _killed = pidfd_send_signal(&process, Signal::KILL);
    }
    // Once its file system is unmounted, a device's file cannot be told by its path any more.
    let devices = loops_of(root);
    // What was mounted last may lie in what was mounted first.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines().rev() {
        if let Some(path) = mount.split(' ').nth(1)
            && Path::new(path).starts_with(root)
        {
            let _gone = unmount(path, UnmountFlags::DETACH);
        }
    }
    for device in devices {
        let _detached = run("losetup", ["-d".as_ref(), device.as_os_str()]);
    }
    let _removed = fs::remove_dir_all(root);
}

/// The processes that were told of a path in `root` when they were started: servers, and who traces
/// them. Nobody else knows the name.
fn processes_of(root: &Path) -> Vec<OwnedFd> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        let is_told = || {
            let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            words
                .split(|byte| *byte == 0)
                .any(|word| Path::new(OsStr::from_bytes(word)).starts_with(root))
        };
        // Asked again once we hold it: the number may have gone to somebody else in between.
        if is_told()
            && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
            && is_told()
        {
            found.push(process);
        }
    }
    found
}

fn loops_of(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file"));
        if backing.is_ok_and(|path| Path::new(path.trim()).starts_with(root)) {
            found.push(Path::new("/dev").join(entry.file_name()));
        }
    }
    found
}

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    path: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts as `mount ARGUMENTS PATH` does.
    pub(crate) fn new<S: AsRef<OsStr>>(arguments: &[S], path: &Path) -> Result<Self, String> {
        fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let arguments = arguments.iter().map(AsRef::as_ref);
        run("mount", arguments.chain([path.as_os_str()]))?;
        Ok(Self {
            path: path.to_owned(),
            mounted: true,
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts; waits a little for those who still use it.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        for _ in 0..100 {
            if unmount(&self.path, UnmountFlags::empty()).is_ok() {
                self.mounted = false;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("{} stays busy", self.path.display()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let _gone = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}

/// A file as a block device; detached when dropped.
#[derive(Debug)]
pub(crate) struct Loop {
    device: PathBuf,
}

impl Loop {
    /// The device of `file`.
    pub(crate) fn new(file: &Path) -> Result<Self, String> {
        let out = run(
            "losetup",
            ["-f".as_ref(), "--show".as_ref(), file.as_os_str()],
        )?;
        Ok(Self {
            device: PathBuf::from(out.trim()),
        })
    }

    /// Its path.
    pub(crate) fn device(&self) -> &Path {
        &self.device
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _detached = run("losetup", ["-d".as_ref(), self.device.as_os_str()]);
    }
}

/// Runs a tool to its end; its standard output, or what it said went wrong.
pub(crate) fn run<S: AsRef<OsStr>>(
    tool: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Result<String, String> {
    let output = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{tool}: {}: {}", output.status, said.trim()))
}

/// Whether a tool is there.
pub(crate) fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .any(|directory| directory.join(tool).is_file())
}

/// Whether we may mount.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
