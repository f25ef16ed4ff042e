//! What clients were told, and whether the server still says the same.
//!
//! The oracle believes nothing that the server says about itself: it holds receipts, events that
//! readers were shown and checkpoints that were acknowledged, and compares all the server has after
//! a restart with these.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::http::Client;
use crate::native::{self, Receipt, Shown};

/// How many findings are told in words; the others are counted.
const WORDS_MAX: usize = 12;

/// How often, and after what pause, reading is begun anew if retention removed what was to be read.
const EXPIRED_TRIES: u32 = 20;
const EXPIRED_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What was found, by kind. All zero is what is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Acknowledged events that are absent, or different from what was published.
    pub(crate) lost: u64,
    /// Events that are there twice.
    pub(crate) duplicates: u64,
    /// Ids and sequences that are left out.
    pub(crate) gaps: u64,
    /// Events before others that were acknowledged earlier.
    pub(crate) reordered: u64,
    /// Events that a reader was shown, and that are absent or different now.
    pub(crate) taken_back: u64,
    /// Batches of which only a part is there.
    pub(crate) split: u64,
    /// Checkpoints beyond the end, behind an acknowledgement, or beyond the last one that was asked for.
    pub(crate) checkpoints: u64,
    /// Anything else: no start, an answer that makes no sense, a promise on time, a panic.
    pub(crate) other: u64,
    /// The first of them in words.
    pub(crate) words: Vec<String>,
}

impl Findings {
    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.lost
            + self.duplicates
            + self.gaps
            + self.reordered
            + self.taken_back
            + self.split
            + self.checkpoints
            + self.other
    }

    /// Adds those of `more`.
    pub(crate) fn add(&mut self, more: Self) {
        self.lost += more.lost;
        self.duplicates += more.duplicates;
        self.gaps += more.gaps;
        self.reordered += more.reordered;
        self.taken_back += more.taken_back;
        self.split += more.split;
        self.checkpoints += more.checkpoints;
        self.other += more.other;
        for words in more.words {
            self.say(words);
        }
    }

    fn say(&mut self, words: String) {
        if self.words.len() < WORDS_MAX {
            self.words.push(words);
        }
    }

    /// Adds one about a place that must not have moved so.
    pub(crate) fn checkpoint(&mut self, words: impl Into<String>) {
        self.checkpoints += 1;
        self.say(words.into());
    }

    /// Adds one of no kind of its own.
    pub(crate) fn other(&mut self, words: impl Into<String>) {
        self.other += 1;
        self.say(words.into());
    }
}

/// An event's place in what its producer published: producer, number of the batch, index in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    pub(crate) producer: u64,
    pub(crate) batch: u64,
    pub(crate) index: u64,
    /// How many the batch has.
    pub(crate) of: u64,
}

impl Origin {
    /// The event's data: its origin, and padding that follows from it.
    pub(crate) fn data(self, padding_len: u64) -> String {
        let Self {
            producer,
            batch,
            index,
            of,
        } = self;
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        let pattern = format!("{:016x}", hasher.finish());
        let padding: String = pattern
            .chars()
            .cycle()
            .take(usize::try_from(padding_len).unwrap_or(0))
            .collect();
        // An object, because some doors take nothing else.
        format!("{{\"origin\":[{producer},{batch},{index},{of}],\"padding\":\"{padding}\"}}")
    }

    fn of_data(data: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Data<'a> {
            origin: (u64, u64, u64, u64),
            #[serde(borrow)]
            padding: Cow<'a, str>,
        }
        let Data {
            origin: (producer, batch, index, of),
            padding,
        } = serde_json::from_str(data).ok()?;
        let origin = Self {
            producer,
            batch,
            index,
            of,
        };
        // Byte for byte, or it is not what was published.
        (origin.data(padding.len() as u64) == data).then_some(origin)
    }
}

/// A checkpoint as its consumer knows it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    /// The consumer is defined: it was told so.
    pub(crate) defined: bool,
    /// The last id whose acknowledgement was answered.
    pub(crate) answered: u64,
    /// The last id whose acknowledgement was sent.
    pub(crate) sent: u64,
}

#[derive(Debug, Default)]
struct Told {
    acknowledged: BTreeMap<u64, (Origin, String, u64)>,
    /// Those of which is known only that they are there, and above which id.
    stored: BTreeMap<Origin, u64>,
    /// By id, the hash of what a reader was shown.
    shown: BTreeMap<u64, u64>,
    consumers: BTreeMap<String, Place>,
    /// At least so many events are kept; none: all are.
    retained: Option<u64>,
    findings: Findings,
}

/// The memory of all clients together.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    told: Mutex<Told>,
    /// The highest acknowledged id: what is published from here on comes after it.
    floor: AtomicU64,
    acknowledged: AtomicU64,
    moves: AtomicU64,
}

/// An event without the parts that the server makes up.
fn hash_of(event: &Shown<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&event.stream, event.sequence, event.data.get()).hash(&mut hasher);
    hasher.finish()
}

impl Oracle {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The highest acknowledged id.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    /// How many events were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// A consumer's acknowledgement was answered.
    pub(crate) fn count_move(&self) {
        self.moves.fetch_add(1, Ordering::SeqCst);
    }

    /// How many acknowledgements of consumers were answered.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.load(Ordering::SeqCst)
    }

    /// A batch is acknowledged; `floor` is what [`floor`](Self::floor) was before it was first sent.
    pub(crate) fn acknowledge(&self, origins: &[Origin], receipts: &[Receipt], floor: u64) {
        let mut told = self.told();
        if origins.len() != receipts.len() {
            let (got, want) = (receipts.len(), origins.len());
            told.findings
                .other(format!("{got} receipts for {want} events"));
            return;
        }
        let mut next = None;
        for (origin, receipt) in origins.iter().zip(receipts) {
            let id = receipt.id;
            if id <= floor {
                told.findings.reordered += 1;
                told.findings
                    .say(format!("{origin:?} got id {id}, not above {floor}"));
            }
            if next.is_some_and(|next| next != id) {
                told.findings.split += 1;
                told.findings
                    .say(format!("{origin:?} is not next to its batch: id {id}"));
            }
            next = Some(id + 1);
            let place = (*origin, receipt.stream.clone(), receipt.sequence);
            if let Some(other) = told.acknowledged.insert(id, place)
                && other.0 != *origin
            {
                told.findings.lost += 1;
                let other = other.0;
                told.findings
                    .say(format!("id {id} was given to {other:?} and to {origin:?}"));
            }
        }
        let last = receipts.iter().map(|receipt| receipt.id).max().unwrap_or(0);
        self.floor.fetch_max(last, Ordering::SeqCst);
        self.acknowledged
            .fetch_add(receipts.len() as u64, Ordering::SeqCst);
    }

    /// An event is stored, and nobody was told where; `floor` as for [`acknowledge`](Self::acknowledge).
    pub(crate) fn acknowledge_unplaced(&self, origin: Origin, floor: u64) {
        self.told().stored.insert(origin, floor);
        self.acknowledged.fetch_add(1, Ordering::SeqCst);
    }

    /// A reader that had everything up to `after` was shown `event` next.
    pub(crate) fn show(&self, event: &Shown<'_>, after: u64) {
        let hash = hash_of(event);
        let mut told = self.told();
        let id = event.id;
        if id != after + 1 {
            told.findings.gaps += 1;
            told.findings
                .say(format!("a reader after {after} was shown {id}"));
        }
        if told
            .shown
            .insert(id, hash)
            .is_some_and(|before| before != hash)
        {
            told.findings.taken_back += 1;
            told.findings
                .say(format!("event {id} was shown with two contents"));
        }
    }

    /// Where a consumer is.
    pub(crate) fn place(&self, name: &str) -> Place {
        self.told().consumers.get(name).copied().unwrap_or_default()
    }

    /// A consumer was defined, or has moved.
    pub(crate) fn set_place(&self, name: &str, place: Place) {
        self.told().consumers.insert(name.to_owned(), place);
    }

    /// Events may go from the front, but for the last `events`.
    pub(crate) fn let_go_but(&self, events: u64) {
        self.told().retained = Some(events);
    }

    /// Whether events may go from the front.
    pub(crate) fn lets_go(&self) -> bool {
        self.told().retained.is_some()
    }

    /// Something was found by somebody else.
    pub(crate) fn find(&self, words: impl Into<String>) {
        self.told().findings.other(words);
    }

    /// Compares all that the server has with all that clients were told. What was found since the
    /// last call is in the result, too.
    pub(crate) fn check(&self, client: &mut Client) -> Findings {
        let retained = self.told().retained;
        let (mut comparison, mut end, mut broken) = compare(client, retained.is_some());
        for _ in 0..EXPIRED_TRIES {
            // Retention may have been faster than we are.
            if retained.is_none() || broken.as_ref().is_none_or(|broken| !broken.contains("410")) {
                break;
            }
            std::thread::sleep(EXPIRED_PAUSE);
            (comparison, end, broken) = compare(client, true);
        }
        let first = comparison.first_id;
        let mut told = self.told();
        let mut findings = std::mem::take(&mut told.findings);
        if let Some(broken) = broken {
            findings.other(broken);
        }
        if retained.is_some_and(|retained| (end + 1).saturating_sub(first) < retained.min(end)) {
            findings.lost += 1;
            findings.say(format!(
                "of events up to {end} those from {first} on are left: {retained:?} were to be kept"
            ));
        }
        comparison.finish(&told, end, &mut findings);
        for (name, place) in &told.consumers {
            if !place.defined {
                continue;
            }
            match native::checkpoint(client, name) {
                Ok(at) if at < place.answered || at > place.sent || at > comparison.last_id => {
                    findings.checkpoints += 1;
                    findings.say(format!(
                        "consumer {name} is at {at}: acknowledged {}, asked for {}, end {}",
                        place.answered, place.sent, comparison.last_id
                    ));
                }
                Ok(_) => {}
                Err(error) => {
                    findings.checkpoints += 1;
                    findings.say(format!("consumer {name}: {error}"));
                }
            }
        }
        findings
    }

    /// What was found since the last check.
    pub(crate) fn take_findings(&self) -> Findings {
        std::mem::take(&mut self.told().findings)
    }
}

/// Reads all events that are left: these, the end, and why it is not all.
fn compare(client: &mut Client, may_expire: bool) -> (Comparison, u64, Option<String>) {
    let first = match may_expire.then(|| native::first_id(client)) {
        Some(Ok(first)) => first,
        _ => 1,
    };
    let mut comparison = Comparison {
        first_id: first,
        last_id: first - 1,
        ..Comparison::default()
    };
    let end = match native::last_id(client) {
        Ok(end) => end,
        Err(error) => {
            return (
                comparison,
                0,
                Some(format!("cannot ask for the end: {error}")),
            );
        }
    };
    let mut after = first - 1;
    while after < end {
        match native::read(client, after, true, 0, |event| comparison.take(&event)) {
            Ok(last) if last > after => after = last,
            Ok(_) => break,
            Err(error) => {
                let broken = format!("cannot read after {after}: {error}");
                return (comparison, end, Some(broken));
            }
        }
    }
    (comparison, end, None)
}

/// One pass over all events.
#[derive(Debug, Default)]
struct Comparison {
    /// Retention has let go of what is before it.
    first_id: u64,
    last_id: u64,
    events: BTreeMap<u64, (Option<Origin>, String, u64, u64)>,
    recorded_at: String,
    findings: Findings,
}

impl Comparison {
    fn take(&mut self, event: &Shown<'_>) {
        let id = event.id;
        if id != self.last_id + 1 {
            self.findings.gaps += 1;
            self.findings
                .say(format!("after id {} comes {id}", self.last_id));
        }
        self.last_id = id;
        let recorded_at = comparable(&event.recorded_at);
        if recorded_at < self.recorded_at {
            self.findings.reordered += 1;
            self.findings
                .say(format!("event {id} was recorded before the one before it"));
        }
        self.recorded_at = recorded_at;
        let origin = Origin::of_data(event.data.get());
        if origin.is_none() {
            self.findings
                .other(format!("event {id} was published by nobody"));
        }
        let stored = (origin, event.stream.clone(), event.sequence, hash_of(event));
        self.events.insert(id, stored);
    }

    fn finish(&mut self, told: &Told, end: u64, findings: &mut Findings) {
        findings.add(std::mem::take(&mut self.findings));
        if end != self.last_id {
            findings.gaps += 1;
            findings.say(format!("the end is {end}, the last event {}", self.last_id));
        }
        for (id, (origin, stream, sequence)) in told.acknowledged.range(self.first_id..) {
            let there = self.events.get(id);
            let same = there.is_some_and(|(found, at, rank, _)| {
                *found == Some(*origin) && at == stream && rank == sequence
            });
            if !same {
                findings.lost += 1;
                let there = there.map(|(found, at, rank, _)| (found, at, rank));
                findings.say(format!(
                    "acknowledged {origin:?} as id {id}, there is {there:?}"
                ));
            }
        }
        // What was let go of from the front cannot be told from what was lost.
        if self.first_id == 1 {
            self.find_stored(told, findings);
        }
        for (id, hash) in told.shown.range(self.first_id..) {
            if self.events.get(id).is_none_or(|(_, _, _, now)| now != hash) {
                findings.taken_back += 1;
                findings.say(format!(
                    "event {id} was shown to a reader, and is gone or different"
                ));
            }
        }
        self.check_order(findings);
    }

    /// Those of which no place is known are somewhere behind what was acknowledged before.
    fn find_stored(&self, told: &Told, findings: &mut Findings) {
        let mut places: HashMap<Origin, u64> = HashMap::new();
        for (id, (origin, ..)) in &self.events {
            places.extend(origin.map(|origin| (origin, *id)));
        }
        for (origin, floor) in &told.stored {
            match places.get(origin) {
                Some(id) if id > floor => {}
                Some(id) => {
                    findings.reordered += 1;
                    findings.say(format!("{origin:?} has id {id}, not above {floor}"));
                }
                None => {
                    findings.lost += 1;
                    findings.say(format!("acknowledged {origin:?} is not there"));
                }
            }
        }
    }

    /// Each event once, batches whole, producers in their order, sequences dense.
    fn check_order(&self, findings: &mut Findings) {
        let mut known: HashMap<Origin, u64> = HashMap::new();
        let mut latest: HashMap<u64, Origin> = HashMap::new();
        let mut sequences: HashMap<&str, u64> = HashMap::new();
        let mut open: Option<Origin> = None;
        for (id, (origin, stream, sequence, _)) in &self.events {
            // The earlier ones of the stream may be gone with their segment.
            let start = if self.first_id > 1 { *sequence } else { 0 };
            let next = sequences.entry(stream).or_insert(start);
            if *sequence != *next {
                findings.gaps += 1;
                findings.say(format!(
                    "event {id} has sequence {sequence} of {stream}, not {next}"
                ));
            }
            *next = sequence + 1;
            let Some(origin) = origin else { continue };
            if let Some(first) = known.insert(*origin, *id) {
                findings.duplicates += 1;
                findings.say(format!("{origin:?} is there as {first} and as {id}"));
                open = None;
                continue;
            }
            if latest
                .insert(origin.producer, *origin)
                .is_some_and(|before| before > *origin)
            {
                findings.reordered += 1;
                findings.say(format!(
                    "{origin:?} (id {id}) comes after a later one of its producer"
                ));
            }
            let follows = open.map_or(origin.index == 0, |open| {
                (open.producer, open.batch, open.index + 1)
                    == (origin.producer, origin.batch, origin.index)
            });
            if !follows {
                findings.split += 1;
                findings.say(format!("{origin:?} (id {id}) follows {open:?}"));
            }
            open = (origin.index + 1 < origin.of).then_some(*origin);
        }
        if let Some(open) = open {
            findings.split += 1;
            findings.say(format!("the rest of the batch of {open:?} is absent"));
        }
    }
}

/// A time in RFC 3339 (UTC) so that the order of texts is the order of times.
fn comparable(time: &str) -> String {
    let time = time.trim_end_matches('Z');
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    format!("{whole}.{fraction:0<9}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn origin(producer: u64, batch: u64, index: u64, of: u64) -> Origin {
        Origin {
            producer,
            batch,
            index,
            of,
        }
    }

    /// What is found if clients were told that `told` are there, and `there` are.
    fn found(told: &[(u64, Origin)], there: &[(u64, Origin)]) -> Findings {
        let oracle = Oracle::default();
        for (id, origin) in told {
            let receipt = Receipt {
                id: *id,
                stream: "s".to_owned(),
                sequence: id - 1,
            };
            oracle.acknowledge(&[*origin], &[receipt], 0);
        }
        let mut comparison = Comparison::default();
        for (id, origin) in there {
            let data = origin.data(5);
            let text = format!(
                r#"{{"id":{id},"stream":"s","sequence":{},"recordedAt":"2026-01-01T00:00:00Z","data":{data}}}"#,
                id - 1
            );
            comparison.take(&serde_json::from_str(&text).unwrap());
        }
        let mut findings = Findings::default();
        let end = comparison.last_id;
        comparison.finish(&oracle.told(), end, &mut findings);
        findings
    }

    #[test]
    fn what_is_as_it_was_told_is_no_finding() {
        let all = [
            (1, origin(0, 0, 0, 1)),
            (2, origin(1, 0, 0, 2)),
            (3, origin(1, 0, 1, 2)),
        ];
        assert_eq!(found(&all[..1], &all), Findings::default());
    }

    #[test]
    fn each_kind_of_fault_is_a_finding_of_its_kind() {
        let (a, b) = (origin(0, 0, 0, 1), origin(0, 1, 0, 1));
        assert_eq!(found(&[(1, a), (2, b)], &[(1, a)]).lost, 1);
        assert_eq!(found(&[(1, a)], &[(1, b)]).lost, 1);
        assert_eq!(found(&[], &[(1, a), (2, a)]).duplicates, 1);
        assert_eq!(found(&[], &[(1, b), (2, a)]).reordered, 1);
        assert!(found(&[], &[(1, a), (3, b)]).gaps >= 1);
        assert_eq!(found(&[], &[(1, origin(0, 0, 0, 2))]).split, 1);
        assert_eq!(found(&[], &[(1, origin(0, 0, 1, 2))]).split, 1);
        assert_eq!(found(&[], &[(1, origin(0, 0, 0, 2)), (2, b)]).split, 1);
    }

    #[test]
    fn an_event_without_a_known_place_is_lost_if_it_is_nowhere() {
        let (here, gone) = (origin(2, 0, 0, 1), origin(2, 1, 0, 1));
        let mut comparison = Comparison {
            first_id: 1,
            ..Comparison::default()
        };
        let there = (Some(here), "s".to_owned(), 0, 0);
        comparison.events.insert(1, there);
        let oracle = Oracle::default();
        oracle.acknowledge_unplaced(here, 0);
        let mut findings = Findings::default();
        comparison.find_stored(&oracle.told(), &mut findings);
        assert_eq!(findings, Findings::default());
        oracle.acknowledge_unplaced(here, 1);
        oracle.acknowledge_unplaced(gone, 0);
        comparison.find_stored(&oracle.told(), &mut findings);
        assert_eq!((findings.reordered, findings.lost), (1, 1));
    }

    #[test]
    fn a_reader_that_is_shown_two_contents_or_skips_is_a_finding() {
        let oracle = Oracle::default();
        let texts = ["1", "2"].map(|data| {
            format!(r#"{{"id":1,"stream":"s","sequence":0,"recordedAt":"","data":{data}}}"#)
        });
        for text in &texts {
            oracle.show(&serde_json::from_str(text).unwrap(), 0);
        }
        oracle.show(&serde_json::from_str(&texts[1]).unwrap(), 7);
        let findings = oracle.take_findings();
        assert_eq!((findings.taken_back, findings.gaps), (1, 1));
    }

    #[test]
    fn times_are_compared_as_times() {
        assert!(comparable("2026-01-01T00:00:00.5Z") > comparable("2026-01-01T00:00:00.49Z"));
        assert!(comparable("2026-01-01T00:00:01Z") > comparable("2026-01-01T00:00:00.999999Z"));
    }

    #[test]
    fn data_that_was_changed_is_not_what_was_published() {
        let data = origin(1, 2, 0, 1).data(40);
        assert_eq!(Origin::of_data(&data), Some(origin(1, 2, 0, 1)));
        let changed = data.replacen("[1,2", "[1,3", 1);
        assert_eq!(Origin::of_data(&changed), None);
    }
}
