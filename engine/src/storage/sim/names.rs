//! The names in one simulated directory: what is seen, and what a power cut may leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chance::{Chance, Left};

/// What a name stands for: the number of a file or directory of the disk.
pub(super) type Node = usize;

pub(super) type NameMap = BTreeMap<Arc<str>, Node>;

/// `now` is what everybody sees; `synced` is what is on the disk for certain.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: NameMap,
    synced: NameMap,
    unsynced: Vec<Unsynced>,
}

/// A change that may not be on the disk.
#[derive(Clone, Debug)]
struct Unsynced {
    change: Change,
    /// A sync of it has failed, and it is taken for clean: no later sync will write it.
    forgotten: bool,
}

/// A change of the names that the disk may or may not have made.
#[derive(Clone, Debug)]
enum Change {
    Put {
        name: Arc<str>,
        node: Node,
    },
    Take {
        name: Arc<str>,
    },
    Move {
        from: Arc<str>,
        to: Arc<str>,
        node: Node,
        /// The new name may reach the disk without the removal of the old one.
        splits: bool,
    },
}

impl Names {
    /// Names that are on the disk.
    pub(super) fn synced(names: NameMap) -> Self {
        Self {
            now: names.clone(),
            synced: names,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> &NameMap {
        &self.now
    }

    pub(super) fn put(&mut self, name: &str, node: Node) {
        self.change(Change::Put {
            name: name.into(),
            node,
        });
    }

    pub(super) fn take(&mut self, name: &str) {
        self.change(Change::Take { name: name.into() });
    }

    /// Two names for one file are possible after a power cut, for one directory they are not.
    pub(super) fn rename(&mut self, from: &str, to: &str, node: Node, is_file: bool) {
        self.change(Change::Move {
            from: from.into(),
            to: to.into(),
            node,
            splits: is_file,
        });
    }

    /// A sync that works: every change is on the disk but those that a failed one has forgotten, as
    /// far as no later change concerns the same name.
    pub(super) fn sync(&mut self) {
        let changes = std::mem::take(&mut self.unsynced);
        for unsynced in changes {
            if unsynced.forgotten {
                self.unsynced.push(unsynced);
                continue;
            }
            unsynced.change.apply(&mut self.synced, false);
            for name in unsynced.change.names() {
                forget_about(&mut self.unsynced, name);
            }
        }
    }

    /// A sync that fails: every change is taken for clean from now on.
    pub(super) fn forget(&mut self) {
        for unsynced in &mut self.unsynced {
            unsynced.forgotten = true;
        }
    }

    /// What `name` stands for now, or that it is free, is on the disk.
    pub(super) fn sync_one(&mut self, name: &str) {
        match self.now.get_key_value(name) {
            Some((name, node)) => self.synced.insert(Arc::clone(name), *node),
            None => self.synced.remove(name),
        };
        forget_about(&mut self.unsynced, name);
    }

    /// Whether the name of `node` may be in force after a power cut.
    pub(super) fn mentions(&self, node: Node) -> bool {
        self.now
            .values()
            .chain(self.synced.values())
            .any(|n| *n == node)
            || self.unsynced.iter().any(|unsynced| match &unsynced.change {
                Change::Put { node: n, .. } | Change::Move { node: n, .. } => *n == node,
                Change::Take { .. } => false,
            })
    }

    /// What a power cut leaves, chosen by `left`.
    pub(super) fn after_crash(&self, left: Left, mut chance: Chance) -> NameMap {
        let mut names = self.synced.clone();
        let progress = chance.progress();
        let count = self.unsynced.iter().filter(|it| !it.forgotten).count();
        let mut index = 0;
        for Unsynced { change, forgotten } in &self.unsynced {
            let keeps = match left.keeps(index, count) {
                Some(keeps) => keeps && !forgotten,
                // The sync that failed may have got round to some changes before it did.
                None if *forgotten => chance.likely(progress / 2),
                None => chance.likely(progress),
            };
            index += usize::from(!forgotten);
            if keeps {
                let split = matches!(left, Left::Random(_)) && chance.likely(64);
                change.apply(&mut names, split);
            }
        }
        names
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now, false);
        self.unsynced.push(Unsynced {
            change,
            forgotten: false,
        });
    }
}

/// `name` is settled: what the changes would do to it does not matter any more.
fn forget_about(unsynced: &mut Vec<Unsynced>, name: &str) {
    unsynced.retain_mut(|Unsynced { change, .. }| match change {
        Change::Put { name: n, .. } | Change::Take { name: n } => **n != *name,
        Change::Move { from, to, node, .. } => {
            // The other name of the move is still as uncertain as before.
            if **from == *name {
                *change = Change::Put {
                    name: Arc::clone(to),
                    node: *node,
                };
            } else if **to == *name {
                *change = Change::Take {
                    name: Arc::clone(from),
                };
            }
            true
        }
    });
}

impl Change {
    fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let (one, other) = match self {
            Self::Put { name, .. } | Self::Take { name } => (name, None),
            Self::Move { from, to, .. } => (from, Some(to)),
        };
        std::iter::once(one).chain(other)
    }

    fn apply(&self, names: &mut NameMap, split: bool) {
        match self {
            Self::Put { name, node } => {
                names.insert(Arc::clone(name), *node);
            }
            Self::Take { name } => {
                names.remove(name);
            }
            Self::Move {
                from,
                to,
                node,
                splits,
            } => {
                names.insert(Arc::clone(to), *node);
                if !(split && *splits) {
                    names.remove(from);
                }
            }
        }
    }
}
