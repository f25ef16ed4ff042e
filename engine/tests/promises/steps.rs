//! Operations on a log and on a list side by side, with crashes in between.

use strandlog_engine::storage::sim::SimDisk;
use strandlog_engine::{AppendError, Batch, Condition, Direction, Log, Tag};

use super::support::{Act, Chance, Event, Story, drain, event, id, left, open, query};

/// What may happen; the numbers are taken modulo what is there.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append {
        count: u8,
        len: u16,
    },
    /// A batch that would start a stream anew.
    Expect {
        rank: u8,
    },
    /// A batch that must be the first of its type after an id.
    Require {
        kind: u8,
        after: u16,
    },
    Read {
        at: u16,
    },
    Scan {
        from: u16,
        len: u16,
        backward: bool,
    },
    Query {
        kind: u8,
        from: u16,
        len: u16,
    },
    Advance {
        lag: u8,
    },
    Seek {
        part: u8,
    },
    Keep {
        records: u8,
    },
    Upkeep,
    Reopen,
    /// The process is killed.
    Kill,
    /// The power goes so many calls from now; then the log is opened.
    Cut {
        calls: u8,
        kind: u8,
    },
}

/// The log, the list, and the disk below.
struct Model {
    disk: SimDisk,
    log: Option<Log>,
    story: Story,
    number: u64,
    opens: u64,
    /// The power is about to go, and this is to be left.
    cut: Option<u64>,
}

impl Model {
    fn new(seed: u64) -> Result<Self, String> {
        let mut model = Self {
            disk: SimDisk::with_seed(seed),
            log: None,
            story: Story::default(),
            number: 0,
            opens: seed % 1_000,
            cut: None,
        };
        model.open()?;
        Ok(model)
    }

    fn open(&mut self) -> Result<(), String> {
        self.opens += 1;
        let (log, _) = open(&self.disk, self.opens).map_err(|error| format!("{error:?}"))?;
        self.story.check(&log)?;
        self.story.settle(&log);
        self.log = Some(log);
        Ok(())
    }

    fn log(&self) -> Log {
        self.log.clone().unwrap()
    }

    fn event(&mut self, len: u16) -> Event {
        self.number += 1;
        event(self.number, usize::from(len))
    }

    /// An id of the log, mostly; 1 if there is none.
    fn id(&self, at: u16) -> u64 {
        1 + u64::from(at) % (self.story.last() + 3)
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let log = self.log();
        let outcome = match step {
            Step::Append { count, len } => {
                let events: Vec<_> = (0..*count).map(|_| self.event(*len)).collect();
                self.story.append(&log, &events)
            }
            Step::Expect { rank } => self.expect(&log, u64::from(*rank)),
            Step::Require { kind, after } => self.require(&log, *kind, self.id(*after)),
            Step::Advance { lag } => self.story.act(&log, &Act::Advance(u64::from(*lag))),
            Step::Seek { part } => self.story.act(&log, &Act::Seek(u64::from(*part))),
            Step::Keep { records } => self.story.act(&log, &Act::Keep(u64::from(*records))),
            Step::Upkeep => self.story.act(&log, &Act::Upkeep),
            Step::Read { .. } | Step::Scan { .. } | Step::Query { .. } => {
                let read = self.read(&log, step);
                if self.disk.has_crashed() {
                    Ok(())
                } else {
                    return read;
                }
            }
            Step::Reopen => log.close().map_err(|error| error.to_string()),
            Step::Kill => {
                if self.cut.is_none() {
                    self.log = None;
                    self.disk = self.disk.restart();
                    return self.open();
                }
                Ok(())
            }
            Step::Cut { calls, kind } => {
                if self.cut.is_none() {
                    self.disk.crash_at(self.disk.steps() + u64::from(*calls));
                    self.cut = Some(u64::from(*kind));
                }
                Ok(())
            }
        };
        if let Some(kind) = self.cut
            && self.disk.has_crashed()
        {
            self.cut = None;
            self.log = None;
            self.disk = self.disk.after_crash(left(kind, self.opens));
            return self.open();
        }
        if matches!(step, Step::Reopen) {
            outcome?;
            drop(log);
            self.log = None;
            let opened = self.open();
            if self.disk.has_crashed() {
                self.disk = self
                    .disk
                    .after_crash(left(self.cut.take().unwrap_or(0), self.opens));
                return self.open();
            }
            return opened;
        }
        outcome
    }

    fn count(&self, tag: &str) -> u64 {
        let carries = |event: &&Event| event.tags.iter().any(|it| it == tag);
        self.story.events.iter().filter(carries).count() as u64
    }

    fn expect(&mut self, log: &Log, rank: u64) -> Result<(), String> {
        let event = self.event(9);
        let tag = event.tags[1].clone();
        let have = self.count(&tag);
        // Half of them right.
        let expected = if rank < 2 { have } else { rank };
        let mut batch = Batch::new();
        batch
            .push(
                &[
                    Tag::new(event.tags[0].as_bytes()),
                    Tag::expecting(tag.as_bytes(), expected),
                    Tag::expecting(event.tags[2].as_bytes(), 0),
                ],
                &[&event.body],
            )
            .unwrap();
        self.outcome(log, batch, event, expected == have)
    }

    fn require(&mut self, log: &Log, kind: u8, after: u64) -> Result<(), String> {
        let event = self.event(9);
        let asked = format!("t{}", kind % 3);
        let last = (1..)
            .zip(&self.story.events)
            .filter(|(_, event)| event.tags.contains(&asked))
            .map(|(number, _)| number)
            .last()
            .filter(|last: &u64| *last >= log.first().get());
        let mut batch = Batch::new();
        let tags: Vec<_> = event
            .tags
            .iter()
            .map(|it| Tag::new(it.as_bytes()))
            .collect();
        batch.push(&tags, &[&event.body]).unwrap();
        batch.require(Condition {
            query: query(&[&[&asked]]),
            after,
        });
        self.outcome(log, batch, event, last.is_none_or(|last| last <= after))
    }

    fn outcome(
        &mut self,
        log: &Log,
        batch: Batch,
        event: Event,
        passes: bool,
    ) -> Result<(), String> {
        let outcome = log.append(batch).wait();
        if matches!(outcome, Ok(_) | Err(AppendError::Unknown(_))) {
            self.story.events.push(event);
            self.story.ends.push(self.story.last());
        }
        match outcome {
            Ok(receipt) if passes => {
                self.story.acknowledged = receipt.durable_id;
                Ok(())
            }
            Err(AppendError::Ranks(_) | AppendError::Condition { .. }) if !passes => Ok(()),
            Err(_) if self.disk.has_crashed() => Ok(()),
            outcome => Err(format!("should pass: {passes}, {outcome:?}")),
        }
    }

    fn read(&self, log: &Log, step: &Step) -> Result<(), String> {
        let (first, end) = (log.first().get(), log.end().get());
        let range = |from: u64, len: u16| from.max(first)..(from + u64::from(len)).max(first);
        let (range, found, kind) = match step {
            Step::Read { at } => {
                let at = self.id(*at).max(first);
                let found = log.read(id(at)).map_err(|error| error.to_string())?;
                let body = found.and_then(|found| found.get(0).unwrap().map(|it| it.body.to_vec()));
                let want = usize::try_from(at - 1).ok();
                let want = want.and_then(|at| self.story.events.get(at));
                let is_same = body.as_ref() == want.map(|event| &event.body);
                return if is_same {
                    Ok(())
                } else {
                    Err(format!("read {at}"))
                };
            }
            Step::Scan {
                from,
                len,
                backward,
            } => {
                let range = range(self.id(*from), *len);
                let direction = match backward {
                    true => Direction::Backward,
                    false => Direction::Forward,
                };
                let mut scan = log
                    .scan(id(range.start)..id(range.end), direction)
                    .map_err(|error| error.to_string())?;
                let mut found = drain(&mut scan).map_err(|error| error.to_string())?;
                if *backward {
                    found.reverse();
                }
                (range, found, None)
            }
            Step::Query { kind, from, len } => {
                let range = range(self.id(*from), *len);
                let tag = format!("t{}", kind % 3);
                let mut scan = log
                    .query(
                        &query(&[&[&tag]]),
                        id(range.start)..id(range.end),
                        Direction::Forward,
                    )
                    .map_err(|error| error.to_string())?;
                let found = drain(&mut scan).map_err(|error| error.to_string())?;
                (range, found, Some(tag))
            }
            _ => return Ok(()),
        };
        let want = (1..)
            .zip(&self.story.events)
            .filter(|(number, _)| range.contains(number) && *number < end)
            .filter(|(_, event)| kind.as_ref().is_none_or(|tag| event.tags.contains(tag)));
        let is_same = want
            .map(|(number, event)| (number, &event.body))
            .eq(found.iter().map(|seen| (seen.id, &seen.body)));
        if is_same {
            Ok(())
        } else {
            Err(format!("{step:?}"))
        }
    }
}

/// Does all of it to a new log and a new list, cuts the power, and looks once more.
pub(crate) fn run(seed: u64, steps: &[Step]) -> Result<(), String> {
    let mut model = Model::new(seed)?;
    for (at, step) in steps.iter().enumerate() {
        model
            .take(step)
            .map_err(|error| format!("step {at}, {step:?}: {error}"))?;
    }
    model.log = None;
    model.disk = model
        .disk
        .after_crash(left(Chance::new(seed).below(8), seed));
    model.open().map_err(|error| format!("at the end: {error}"))
}
