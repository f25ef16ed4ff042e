//! A real file system on a device that forgets: ext4 or XFS on a loop device over a crashfs file.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::crashfs::{CrashFs, Lie, Mounted};
use crate::place::{Loop, Mount, run as tool};

/// The kind of file system on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    /// The tool that makes one.
    pub(crate) fn maker(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }

    /// Bytes of the device. XFS has no smaller ones; what is not written takes no memory.
    fn device_bytes(self, small_segments: bool) -> u64 {
        match self {
            Self::Ext4 if small_segments => 48 << 20,
            Self::Ext4 => 400 << 20,
            Self::Xfs => 600 << 20,
        }
    }
}

/// The device, whose power can be cut, and the places of the mounts.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) fs: CrashFs,
    kind: Kind,
    under: PathBuf,
    over: PathBuf,
}

/// All of it mounted. The order of the fields is the order in which they are given back.
#[derive(Debug)]
pub(crate) struct Stack {
    mount: Option<Mount>,
    device: Option<Loop>,
    mounted: Option<Mounted>,
}

impl Device {
    /// A device with an empty file system.
    pub(crate) fn new(
        directory: &Path,
        kind: Kind,
        small_segments: bool,
        seed: u64,
    ) -> Result<Self, String> {
        let device = Self {
            fs: CrashFs::new(seed, Lie::None),
            kind,
            under: directory.join("under"),
            over: directory.join("over"),
        };
        let mounted = device.fs.mount(&device.under)?;
        let image = device.image();
        let file = File::create_new(&image).map_err(|error| error.to_string())?;
        let made = file.set_len(kind.device_bytes(small_segments));
        made.map_err(|error| error.to_string())?;
        let options: &[&str] = match kind {
            Kind::Ext4 => &["-q", "-F", "-E", "nodiscard"],
            Kind::Xfs => &["-q", "-f", "-K"],
        };
        let words = options.iter().map(OsStr::new).chain([image.as_os_str()]);
        tool(kind.maker(), words)?;
        file.sync_all().map_err(|error| error.to_string())?;
        let names = File::open(&device.under).and_then(|directory| directory.sync_all());
        names.map_err(|error| error.to_string())?;
        drop(file);
        mounted.unmount();
        Ok(device)
    }

    fn image(&self) -> PathBuf {
        self.under.join("image")
    }

    /// Where the file system is mounted.
    pub(crate) fn path(&self) -> &Path {
        &self.over
    }

    /// Mounts it, as after power came back: the file system repairs itself from its journal.
    pub(crate) fn mount(&self) -> Result<Stack, String> {
        let mounted = self.fs.mount(&self.under)?;
        let device = Loop::new(&self.image())?;
        let kind = match self.kind {
            Kind::Ext4 => "ext4",
            Kind::Xfs => "xfs",
        };
        let words = [
            OsStr::new("-t"),
            OsStr::new(kind),
            device.device().as_os_str(),
        ];
        let mount = Mount::new(&words, &self.over)?;
        Ok(Stack {
            mount: Some(mount),
            device: Some(device),
            mounted: Some(mounted),
        })
    }
}

impl Stack {
    /// Unmounts all of it. After a cut nothing of what the kernel still has reaches the device.
    pub(crate) fn unmount(mut self) -> Result<(), String> {
        let result = self.mount.take().map_or(Ok(()), Mount::unmount);
        drop(self.device.take());
        if let Some(mounted) = self.mounted.take() {
            mounted.unmount();
        }
        result
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // A call that waits for power would keep the mount for ever.
        if let Some(mounted) = &self.mounted {
            mounted.release();
        }
    }
}
