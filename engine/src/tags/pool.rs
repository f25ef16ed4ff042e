//! Many growing lists of numbers in one allocation.

/// Marks the end of a chain of free areas.
const NONE: u32 = u32::MAX;

/// Lists of `u32` in areas of one vector, each area a power of two long.
///
/// A list that outgrows its area moves to one of twice the length and leaves its own to the next
/// list of that length. One vector instead of one allocation for each list: a segment has
/// hundreds of thousands of short lists, which are all dropped at once.
#[derive(Debug)]
pub(crate) struct Pool {
    words: Vec<u32>,
    /// For each class the first free area, whose first word names the next one.
    free: [u32; 32],
}

/// One list: where its area begins, and its class (the area holds `1 << class` numbers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) start: u32,
    pub(crate) class: u8,
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            words: Vec::new(),
            free: [NONE; 32],
        }
    }

    /// The first `len` numbers of `list`.
    pub(crate) fn get(&self, list: List, len: usize) -> &[u32] {
        let start = list.start as usize;
        self.words.get(start..start + len).unwrap_or_default()
    }

    /// A new list of two numbers.
    pub(crate) fn pair(&mut self, first: u32, second: u32) -> List {
        let list = List {
            start: self.take_area(1),
            class: 1,
        };
        self.set(list, 0, first);
        self.set(list, 1, second);
        list
    }

    /// Adds `number` to `list`, which holds `len` numbers, and returns where the list is now.
    pub(crate) fn push(&mut self, list: List, len: usize, number: u32) -> List {
        let mut list = list;
        if len >> list.class != 0 {
            let moved = List {
                start: self.take_area(list.class + 1),
                class: list.class + 1,
            };
            let from = list.start as usize;
            self.words
                .copy_within(from..from + len, moved.start as usize);
            self.give_back(list);
            list = moved;
        }
        self.set(list, len, number);
        list
    }

    /// Memory held, in bytes.
    pub(crate) fn memory_len(&self) -> usize {
        self.words.capacity() * size_of::<u32>()
    }

    fn set(&mut self, list: List, index: usize, number: u32) {
        if let Some(word) = self.words.get_mut(list.start as usize + index) {
            *word = number;
        }
    }

    fn take_area(&mut self, class: u8) -> u32 {
        if let Some(head) = self.free.get_mut(usize::from(class))
            && *head != NONE
        {
            let area = *head;
            *head = self.words.get(area as usize).copied().unwrap_or(NONE);
            return area;
        }
        let start = u32::try_from(self.words.len())
            .expect("a segment is shorter than 4 GiB, so it has fewer than 2^32 tags");
        self.words.resize(self.words.len() + (1 << class), 0);
        start
    }

    fn give_back(&mut self, list: List) {
        if let Some(head) = self.free.get_mut(usize::from(list.class)) {
            let next = std::mem::replace(head, list.start);
            self.set(list, 0, next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_side_by_side_without_touching_each_other() {
        let mut pool = Pool::new();
        let mut lists: Vec<(List, Vec<u32>)> = (0..50)
            .map(|i| (pool.pair(i, i + 1000), vec![i, i + 1000]))
            .collect();
        for round in 0..300_u32 {
            for (at, (list, want)) in lists.iter_mut().enumerate() {
                if (round as usize).is_multiple_of(at + 1) {
                    *list = pool.push(*list, want.len(), round);
                    want.push(round);
                }
            }
        }
        for (list, want) in &lists {
            assert_eq!(pool.get(*list, want.len()), want);
        }
    }

    #[test]
    fn a_left_area_is_used_again() {
        let mut pool = Pool::new();
        let list = pool.pair(1, 2);
        let list = pool.push(list, 2, 3);
        let other = pool.pair(4, 5);
        assert_eq!(other.start, 0);
        assert_eq!(pool.get(list, 3), [1, 2, 3]);
    }
}
