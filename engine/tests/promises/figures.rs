//! What a sweep looked at: counted, compared with what was asked for, and told.

use std::io::Write;
use std::sync::Mutex;
use std::time::Instant;

use super::settings::{Length, SETTINGS, setting};

/// One promise's figure in the making.
#[derive(Debug)]
pub(crate) struct Figure {
    promise: &'static str,
    what: &'static str,
    asked: [u64; 3],
    started: Instant,
    cpu_s_before: f64,
}

impl Figure {
    /// Of this promise, as RELIABILITY numbers them; `asked` says how many for each length of a
    /// run, the everyday first.
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a test takes is real time"
    )]
    pub(crate) fn of(promise: &'static str, what: &'static str, asked: [u64; 3]) -> Self {
        Self {
            promise,
            what,
            asked,
            started: Instant::now(),
            cpu_s_before: cpu_s(),
        }
    }

    /// So many were looked at, and nothing was found. Tells so, and with `STRANDLOG_TEST_FIGURES`
    /// in a line of JSON at the end of that file. Fewer than asked for are a failure, unless
    /// somebody has chosen another number than the usual ones.
    #[track_caller]
    pub(crate) fn reached(self, count: u64) {
        let Self {
            promise,
            what,
            asked,
            started,
            cpu_s_before,
        } = self;
        let asked = Length::now().of(asked);
        let seconds = started.elapsed().as_secs_f64();
        let cpu_seconds = cpu_s() - cpu_s_before;
        eprintln!("{promise}: {count} {what} in {seconds:.1} s");
        let is_chosen = SETTINGS.iter().any(|setting| {
            let counts = !setting.name.ends_with("_SEED") && !setting.name.ends_with("_THREADS");
            counts && std::env::var_os(setting.name).is_some()
        });
        assert!(
            count >= asked || is_chosen,
            "{promise}: {count} {what}, not {asked}"
        );
        if let Some(path) = std::env::var_os("STRANDLOG_TEST_FIGURES") {
            let length = format!("{:?}", Length::now()).to_lowercase();
            let seed = setting("STRANDLOG_TEST_SEED");
            let line = format!(
                "{{\"promise\":\"{promise}\",\"what\":\"{what}\",\"length\":\"{length}\",\
                 \"seed\":{seed},\"asked\":{asked},\"reached\":{count},\"seconds\":{seconds:.1},\
                 \"cpuSeconds\":{cpu_seconds:.1}}}\n"
            );
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
    }
}

/// The processor time of this process, of all its threads; 0 where nothing tells.
fn cpu_s() -> f64 {
    // The user's and the system's, in ticks of 10 ms; the name before them may hold anything.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Gives the items to threads, some at a time so that neighbours stay together, and adds up what
/// `work` counts. The first error ends it.
pub(crate) fn shared<T: Send>(
    items: impl Iterator<Item = T> + Send,
    together: usize,
    work: impl Fn(Vec<T>) -> Result<u64, String> + Sync,
) -> Result<u64, String> {
    let threads = match setting("STRANDLOG_TEST_THREADS") {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => usize::try_from(threads).unwrap(),
    };
    let queue = Mutex::new((items, Ok::<u64, String>(0)));
    let take = || {
        let mut queue = queue.lock().unwrap();
        let (items, result) = &mut *queue;
        let some: Vec<T> = items.by_ref().take(together).collect();
        (result.is_ok() && !some.is_empty()).then_some(some)
    };
    let run = || {
        while let Some(some) = take() {
            let outcome = work(some);
            let (_, result) = &mut *queue.lock().unwrap();
            *result = match (&*result, outcome) {
                (Ok(sum), Ok(count)) => Ok(sum + count),
                (Err(error), _) => Err(error.clone()),
                (_, Err(error)) => Err(error),
            };
        }
    };
    if threads == 1 {
        run();
    } else {
        #[cfg(feature = "sabotage")]
        let planted = super::sabotage::planted();
        std::thread::scope(|scope| {
            let others: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        #[cfg(feature = "sabotage")]
                        super::sabotage::plant(planted);
                        run();
                    })
                })
                .collect();
            for other in others {
                if let Err(panic) = other.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }
    queue.into_inner().unwrap().1
}

/// The seeds of a sweep: this many from the first on.
pub(crate) fn seeds(count: &str) -> std::ops::Range<u64> {
    let first = setting("STRANDLOG_TEST_SEED");
    first..first + setting(count)
}

#[test]
fn the_readme_names_every_setting() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    for setting in SETTINGS {
        let name = setting.name.trim_start_matches("STRANDLOG_TEST_");
        assert!(
            readme.contains(&format!("`{name}`")) && readme.contains(setting.counts),
            "{} ({}) is not in the README",
            setting.name,
            setting.counts
        );
    }
}

#[test]
fn a_sweep_counts_everything_once_and_stops_at_the_first_error() {
    let all = shared(0..1_000_u64, 7, |some| Ok(some.iter().sum()));
    assert_eq!(all, Ok(499_500));
    let error = shared(0..1_000_u64, 7, |some| match some.contains(&500) {
        true => Err("found".to_owned()),
        false => Ok(1),
    });
    assert_eq!(error, Err("found".to_owned()));
}
