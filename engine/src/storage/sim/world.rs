//! The state of a simulated disk, and what each call does to it.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use rustix::io::Errno;

use super::chance::{Chance, Left};
use super::file::Content;
use super::names::{NameMap, Names, Node};
use super::{Call, CallKind, Fault, Repeat};
use crate::storage::{Entry, EntryKind};

/// No test needs a longer file, and a wrong offset shall not eat the memory.
const FILE_LEN_MAX: u64 = 1 << 30;

pub(super) const ROOT: Node = 0;

/// What happens while a call takes long.
pub(super) type Meanwhile = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone)]
pub(super) struct World {
    pub(super) seed: u64,
    pub(super) calls: Vec<Call>,
    pub(super) crash_at: Option<u64>,
    pub(super) is_off: bool,
    pub(super) faults: Vec<(u64, Fault, Repeat)>,
    pub(super) slow: Option<(u64, Repeat, Meanwhile)>,
    pub(super) syncs_lie: bool,
    pub(super) name_syncs_lie: bool,
    pub(super) capacity: u64,
    /// The lengths of all files that have a name.
    used: u64,
    /// Never shrinks: a number stands for the same thing for ever.
    things: Vec<Thing>,
    /// Files that have lost their last name, and are forgotten once no crash can bring it back.
    nameless: Vec<Node>,
}

#[derive(Clone)]
enum Thing {
    File {
        content: Content,
        names: u32,
        openings: u32,
        /// Under which name it was opened or renamed last.
        path: Arc<str>,
    },
    Directory {
        names: Names,
        is_locked: bool,
    },
}

/// How one call goes.
pub(super) enum Turn {
    /// As it should.
    Well,
    /// It moves half of the bytes, or none.
    Short,
    Zero,
    /// It fails, and may have done a part of its work.
    Partly(io::Error),
    /// It fails before it has done anything.
    NotAtAll(io::Error),
}

impl Turn {
    /// For calls that do their work or do not, whatever they say about it: whether this one does,
    /// and what it says.
    fn whole(self, chance: &mut Chance) -> (bool, io::Result<()>) {
        match self {
            Self::Well | Self::Short | Self::Zero => (true, Ok(())),
            Self::Partly(error) => (chance.likely(128), Err(error)),
            Self::NotAtAll(error) => (false, Err(error)),
        }
    }

    /// For calls that change nothing.
    pub(super) fn check(self) -> io::Result<()> {
        match self {
            Self::Well | Self::Short | Self::Zero => Ok(()),
            Self::Partly(error) | Self::NotAtAll(error) => Err(error),
        }
    }
}

fn power_is_off() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the power is off")
}

/// The length of a file as an index, which it is because files are short.
fn index(n: u64) -> io::Result<usize> {
    if n > FILE_LEN_MAX {
        return Err(Errno::FBIG.into());
    }
    usize::try_from(n).map_err(|_| Errno::FBIG.into())
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            calls: Vec::new(),
            crash_at: None,
            is_off: false,
            faults: Vec::new(),
            slow: None,
            syncs_lie: false,
            name_syncs_lie: false,
            capacity: u64::MAX,
            used: 0,
            things: vec![Thing::Directory {
                names: Names::default(),
                is_locked: false,
            }],
            nameless: Vec::new(),
        }
    }

    /// What happens before the next call does its work, if that takes long.
    pub(super) fn meanwhile(&mut self) -> Option<Meanwhile> {
        let next = self.calls.len() as u64;
        let (step, repeat, meanwhile) = self.slow.as_ref()?;
        let meanwhile = match repeat {
            Repeat::Once if *step == next => self.slow.take()?.2,
            Repeat::FromThenOn if *step <= next => Arc::clone(meanwhile),
            Repeat::Once | Repeat::FromThenOn => return None,
        };
        Some(meanwhile)
    }

    /// Counts a call, and decides how it goes.
    pub(super) fn step(&mut self, call: Call) -> (Turn, Chance) {
        let step = self.calls.len() as u64;
        let moves_bytes = matches!(call.kind, CallKind::WriteAt | CallKind::ReadAt);
        self.calls.push(call);
        let chance = Chance::new(self.seed, step);
        if self.is_off {
            return (Turn::NotAtAll(power_is_off()), chance);
        }
        if let Some(crash_at) = self.crash_at
            && crash_at <= step
        {
            self.is_off = true;
            // Only the call in which the power goes may still do something.
            let turn = if crash_at == step {
                Turn::Partly(power_is_off())
            } else {
                Turn::NotAtAll(power_is_off())
            };
            return (turn, chance);
        }
        let hit = self.faults.iter().find(|(at, fault, repeat)| {
            let is_now = match repeat {
                Repeat::Once => *at == step,
                Repeat::FromThenOn => *at <= step,
            };
            is_now && (moves_bytes || fault.errno().is_some())
        });
        let turn = match hit {
            None => Turn::Well,
            Some((_, fault, _)) => match fault.errno() {
                None if *fault == Fault::Short => Turn::Short,
                None => Turn::Zero,
                Some(Errno::IO) => Turn::Partly(Errno::IO.into()),
                Some(errno) => Turn::NotAtAll(errno.into()),
            },
        };
        (turn, chance)
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn names(&self, directory: Node) -> &Names {
        match &self.things[directory] {
            Thing::Directory { names, .. } => names,
            Thing::File { .. } => unreachable!("a directory stays one"),
        }
    }

    pub(super) fn names_mut(&mut self, directory: Node) -> &mut Names {
        match &mut self.things[directory] {
            Thing::Directory { names, .. } => names,
            Thing::File { .. } => unreachable!("a directory stays one"),
        }
    }

    pub(super) fn content(&self, file: Node) -> &Content {
        match &self.things[file] {
            Thing::File { content, .. } => content,
            Thing::Directory { .. } => unreachable!("a file stays one"),
        }
    }

    pub(super) fn content_mut(&mut self, file: Node) -> &mut Content {
        match &mut self.things[file] {
            Thing::File { content, .. } => content,
            Thing::Directory { .. } => unreachable!("a file stays one"),
        }
    }

    pub(super) fn is_directory(&self, node: Node) -> bool {
        matches!(self.things[node], Thing::Directory { .. })
    }

    pub(super) fn find(&self, directory: Node, name: &str) -> io::Result<Node> {
        let found = self.names(directory).now().get(name).copied();
        found.ok_or_else(|| Errno::NOENT.into())
    }

    pub(super) fn find_file(&self, directory: Node, name: &str) -> io::Result<Node> {
        let node = self.find(directory, name)?;
        if self.is_directory(node) {
            return Err(Errno::ISDIR.into());
        }
        Ok(node)
    }

    pub(super) fn find_directory(&self, directory: Node, name: &str) -> io::Result<Node> {
        let node = self.find(directory, name)?;
        if !self.is_directory(node) {
            return Err(Errno::NOTDIR.into());
        }
        Ok(node)
    }

    pub(super) fn list(&self, directory: Node) -> Vec<Entry> {
        let entry = |(name, node): (&Arc<str>, &Node)| Entry {
            name: name.to_string(),
            kind: match &self.things[*node] {
                Thing::File { content, .. } => EntryKind::File {
                    len: content.bytes().len() as u64,
                },
                Thing::Directory { .. } => EntryKind::Directory,
            },
        };
        self.names(directory).now().iter().map(entry).collect()
    }

    pub(super) fn set_locked(&mut self, directory: Node, value: bool) -> bool {
        match &mut self.things[directory] {
            Thing::Directory { is_locked, .. } => std::mem::replace(is_locked, value),
            Thing::File { .. } => unreachable!("a directory stays one"),
        }
    }

    pub(super) fn create(
        &mut self,
        directory: Node,
        name: &str,
        len: u64,
        (turn, mut chance): (Turn, Chance),
    ) -> io::Result<Node> {
        let (len, result) = match turn {
            Turn::Well | Turn::Short | Turn::Zero => (index(len)?, Ok(())),
            Turn::NotAtAll(error) => return Err(error),
            Turn::Partly(error) => {
                if chance.likely(128) {
                    return Err(error);
                }
                (chance.below(index(len)? + 1), Err(error))
            }
        };
        if self.names(directory).now().contains_key(name) {
            return result.and(Err(Errno::EXIST.into()));
        }
        if len as u64 > self.capacity.saturating_sub(self.used) {
            return result.and(Err(Errno::NOSPC.into()));
        }
        let node = self.add_file(Content::allocated(len));
        self.names_mut(directory).put(name, node);
        result.map(|()| node)
    }

    /// A file that is about to get its first name.
    pub(super) fn add_file(&mut self, content: Content) -> Node {
        self.used += content.bytes().len() as u64;
        self.things.push(Thing::File {
            content,
            names: 1,
            openings: 0,
            path: "".into(),
        });
        self.things.len() - 1
    }

    pub(super) fn add_directory(&mut self) -> Node {
        self.things.push(Thing::Directory {
            names: Names::default(),
            is_locked: false,
        });
        self.things.len() - 1
    }

    pub(super) fn create_directory(
        &mut self,
        directory: Node,
        name: &str,
        (turn, mut chance): (Turn, Chance),
    ) -> io::Result<Node> {
        let (happens, result) = turn.whole(&mut chance);
        if happens && self.names(directory).now().contains_key(name) {
            return result.and(Err(Errno::EXIST.into()));
        }
        if happens {
            let node = self.add_directory();
            self.names_mut(directory).put(name, node);
            return result.map(|()| node);
        }
        result.and(Err(Errno::IO.into()))
    }

    pub(super) fn rename(
        &mut self,
        directory: Node,
        from: &str,
        to: &str,
        (turn, mut chance): (Turn, Chance),
    ) -> io::Result<()> {
        let (happens, result) = turn.whole(&mut chance);
        if happens {
            return result.and(self.give_name(directory, from, to));
        }
        result
    }

    fn give_name(&mut self, directory: Node, from: &str, to: &str) -> io::Result<()> {
        let node = self.find(directory, from)?;
        let is_file = !self.is_directory(node);
        if let Ok(old) = self.find(directory, to) {
            if old == node {
                // Two names for one file, as a power cut may leave them: POSIX keeps both.
                return Ok(());
            }
            match (is_file, !self.is_directory(old)) {
                (true, true) => self.lose_name(old),
                (true, false) => return Err(Errno::ISDIR.into()),
                (false, true) => return Err(Errno::NOTDIR.into()),
                (false, false) if self.names(old).now().is_empty() => {}
                (false, false) => return Err(Errno::NOTEMPTY.into()),
            }
        }
        self.names_mut(directory).rename(from, to, node, is_file);
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        directory: Node,
        name: &str,
        (turn, mut chance): (Turn, Chance),
    ) -> io::Result<()> {
        let (happens, result) = turn.whole(&mut chance);
        if happens {
            return result.and(self.take_name(directory, name));
        }
        result
    }

    /// Removes the name of a file.
    pub(super) fn take_name(&mut self, directory: Node, name: &str) -> io::Result<()> {
        let node = self.find_file(directory, name)?;
        self.lose_name(node);
        self.names_mut(directory).take(name);
        Ok(())
    }

    fn lose_name(&mut self, file: Node) {
        if let Thing::File { content, names, .. } = &mut self.things[file] {
            *names -= 1;
            if *names == 0 {
                self.used -= content.bytes().len() as u64;
                self.nameless.push(file);
            }
        }
    }

    pub(super) fn sync_names(&mut self, directory: Node, turn: Turn) -> io::Result<()> {
        if let Err(error) = turn.check() {
            if !self.is_off {
                self.names_mut(directory).forget();
            }
            return Err(error);
        }
        if !self.name_syncs_lie {
            self.names_mut(directory).sync();
            self.free_nameless();
        }
        Ok(())
    }

    fn free_nameless(&mut self) {
        for file in std::mem::take(&mut self.nameless) {
            let is_mentioned = self.things.iter().any(|thing| match thing {
                Thing::Directory { names, .. } => names.mentions(file),
                Thing::File { .. } => false,
            });
            match &mut self.things[file] {
                Thing::File {
                    content,
                    openings: 0,
                    ..
                } if !is_mentioned => *content = Content::default(),
                _ => self.nameless.push(file),
            }
        }
    }

    pub(super) fn open(&mut self, file: Node, path: Arc<str>) {
        if let Thing::File { openings, .. } = &mut self.things[file] {
            *openings += 1;
        }
        self.is_at(file, path);
    }

    /// Remembers how a file is called, to name it in calls.
    pub(super) fn is_at(&mut self, file: Node, at: Arc<str>) {
        if let Thing::File { path, .. } = &mut self.things[file] {
            *path = at;
        }
    }

    pub(super) fn path(&self, file: Node) -> Arc<str> {
        match &self.things[file] {
            Thing::File { path, .. } => Arc::clone(path),
            Thing::Directory { .. } => unreachable!("a file stays one"),
        }
    }

    pub(super) fn close(&mut self, file: Node) {
        if let Thing::File { openings, .. } = &mut self.things[file] {
            // Zero if the file was opened before a restart.
            *openings = openings.saturating_sub(1);
        }
    }

    pub(super) fn write(
        &mut self,
        file: Node,
        offset: u64,
        pieces: &[IoSlice<'_>],
        (turn, mut chance): (Turn, Chance),
    ) -> io::Result<usize> {
        let len: usize = pieces.iter().map(|piece| piece.len()).sum();
        match turn {
            Turn::Well => self.take_bytes(file, offset, pieces, len),
            Turn::Short => self.take_bytes(file, offset, pieces, len.div_ceil(2)),
            Turn::Zero => Ok(0),
            Turn::Partly(error) => {
                let _ = self.take_bytes(file, offset, pieces, chance.below(len + 1));
                Err(error)
            }
            Turn::NotAtAll(error) => Err(error),
        }
    }

    /// Takes up to `len` bytes of `pieces`: fewer if the disk gets full.
    fn take_bytes(
        &mut self,
        file: Node,
        offset: u64,
        pieces: &[IoSlice<'_>],
        len: usize,
    ) -> io::Result<usize> {
        if len == 0 {
            return Ok(0);
        }
        let end = offset.checked_add(len as u64).ok_or(Errno::INVAL)?;
        index(end)?;
        let room = self.capacity.saturating_sub(self.used);
        let Thing::File { content, names, .. } = &mut self.things[file] else {
            unreachable!("a file stays one");
        };
        let old_len = content.bytes().len() as u64;
        let is_counted = *names > 0;
        let end = if is_counted {
            end.min(old_len.saturating_add(room))
        } else {
            end
        };
        if end <= offset {
            return Err(Errno::NOSPC.into());
        }
        let written = index(end - offset)?;
        content.write(index(offset)?, pieces, written);
        if is_counted {
            self.used += end.saturating_sub(old_len);
        }
        Ok(written)
    }

    pub(super) fn read(
        &self,
        file: Node,
        offset: u64,
        buffer: &mut [u8],
        turn: Turn,
    ) -> io::Result<usize> {
        let wanted = match turn {
            Turn::Well => buffer.len(),
            Turn::Short => buffer.len().div_ceil(2),
            Turn::Zero => 0,
            Turn::Partly(error) | Turn::NotAtAll(error) => return Err(error),
        };
        let bytes = self.content(file).bytes();
        let rest = match usize::try_from(offset) {
            Ok(offset) => bytes.get(offset..).unwrap_or_default(),
            Err(_) => &[],
        };
        let len = wanted.min(rest.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    pub(super) fn sync(&mut self, file: Node, turn: Turn) -> io::Result<()> {
        if let Err(error) = turn.check() {
            // Without power nobody is left to forget anything.
            if !self.is_off {
                self.content_mut(file).forget();
            }
            return Err(error);
        }
        if !self.syncs_lie {
            self.content_mut(file).sync();
        }
        Ok(())
    }

    /// Replaces the content of a file, on the disk too.
    pub(super) fn replace(&mut self, file: Node, bytes: Vec<u8>) {
        if let Thing::File { content, names, .. } = &mut self.things[file] {
            if *names > 0 {
                self.used -= content.bytes().len() as u64;
                self.used += bytes.len() as u64;
            }
            *content = Content::synced(bytes);
        }
    }

    /// The same disk for a new process: what the kernel holds is still there.
    pub(super) fn restarted(&self) -> Self {
        let mut world = Self {
            seed: self.seed,
            calls: Vec::new(),
            crash_at: None,
            is_off: false,
            faults: Vec::new(),
            slow: None,
            syncs_lie: self.syncs_lie,
            name_syncs_lie: self.name_syncs_lie,
            capacity: self.capacity,
            used: self.used,
            things: self.things.clone(),
            nameless: self.nameless.clone(),
        };
        for thing in &mut world.things {
            match thing {
                Thing::File { openings, .. } => *openings = 0,
                Thing::Directory { is_locked, .. } => *is_locked = false,
            }
        }
        world
    }

    /// The disk as it is when the power is back.
    pub(super) fn after_crash(&self, left: Left) -> Self {
        let mut world = Self {
            syncs_lie: self.syncs_lie,
            name_syncs_lie: self.name_syncs_lie,
            capacity: self.capacity,
            ..Self::new(left.chance(usize::MAX).next())
        };
        let mut found = vec![None; self.things.len()];
        world.survive(self, ROOT, ROOT, left, &mut found);
        world
    }

    /// Fills the directory `new` with what is left of `old` on the disk `before`. `found` says
    /// which files have turned up under another name already.
    fn survive(
        &mut self,
        before: &Self,
        old: Node,
        new: Node,
        left: Left,
        found: &mut Vec<Option<Node>>,
    ) {
        let mut names = NameMap::new();
        let kept = before.names(old).after_crash(left, left.chance(old));
        for (name, node) in kept {
            let there = match (&before.things[node], found[node]) {
                (Thing::Directory { .. }, _) => {
                    let directory = self.add_directory();
                    self.survive(before, node, directory, left, found);
                    directory
                }
                (Thing::File { .. }, Some(there)) => {
                    if let Thing::File { names, .. } = &mut self.things[there] {
                        *names += 1;
                    }
                    there
                }
                (Thing::File { content, .. }, None) => {
                    let bytes = content.after_crash(left, left.chance(node));
                    let there = self.add_file(Content::synced(bytes));
                    found[node] = Some(there);
                    there
                }
            };
            names.insert(name, there);
        }
        *self.names_mut(new) = Names::synced(names);
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("steps", &self.calls.len())
            .field("is_off", &self.is_off)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}
