//! A job and its floors, measured in turns within one criterion bench.

use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};

use super::report::{Row, Samples, Table};
use super::{base_dir, is_quick};

/// What one iteration amounts to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// How much it is, in `unit`s.
    pub(crate) amount: f64,
    /// What is counted; the table gives so many a second.
    pub(crate) unit: &'static str,
    /// When the result is durable.
    pub(crate) durability: &'static str,
}

/// Something to be measured: how long so many iterations took.
pub(crate) type Timed<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// A floor, with its name.
pub(crate) struct Floor<'a> {
    pub(crate) name: &'static str,
    pub(crate) timed: Timed<'a>,
}

impl<'a> Floor<'a> {
    pub(crate) fn new(name: &'static str, timed: impl FnMut(u64) -> Duration + 'a) -> Self {
        Self {
            name,
            timed: Box::new(timed),
        }
    }
}

/// Both sides of a comparison.
pub(crate) struct Pair<'a> {
    pub(crate) job: Timed<'a>,
    pub(crate) floors: Vec<Floor<'a>>,
}

/// Criterion, with the table that comes out of a bench file.
pub(crate) struct Bench {
    pub(crate) criterion: Criterion,
    pub(crate) table: Table,
    dir: PathBuf,
}

impl Bench {
    pub(crate) fn new(title: &'static str) -> Self {
        let (samples, warm_up_ms, measure_ms) = if is_quick() {
            (10, 50, 250)
        } else {
            (20, 300, 1_500)
        };
        let criterion = Criterion::default()
            .without_plots()
            .sample_size(samples)
            .warm_up_time(Duration::from_millis(warm_up_ms))
            .measurement_time(Duration::from_millis(measure_ms))
            .configure_from_args();
        Self {
            criterion,
            table: Table::new(title),
            dir: base_dir(),
        }
    }

    /// Measures a group of jobs.
    pub(crate) fn group(&mut self, name: &str, measure: impl FnOnce(&mut Group<'_, '_>)) {
        let mut group = self.criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        measure(&mut Group {
            name,
            group: &mut group,
            table: &mut self.table,
        });
        group.finish();
    }

    /// Prints what was measured.
    pub(crate) fn finish(&mut self) {
        self.criterion.final_summary();
        let csv = std::env::var_os("STRANDLOG_BENCH_CSV").map(PathBuf::from);
        self.table.finish(&self.dir, csv.as_deref());
    }

    /// Where the logs are put.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// A group of jobs that is being measured.
pub(crate) struct Group<'a, 'c> {
    name: &'a str,
    group: &'a mut BenchmarkGroup<'c, WallTime>,
    table: &'a mut Table,
}

impl Group<'_, '_> {
    /// Measures one job beside its floors. `set_up` is called only if the job has been asked for.
    pub(crate) fn pair<'p>(
        &mut self,
        name: &str,
        work: Work,
        set_up: impl FnOnce() -> Pair<'p>,
        bar: &str,
    ) {
        let mut set_up = Some(set_up);
        let mut pair: Option<Pair<'p>> = None;
        // Seconds for one iteration: of the job, then of each floor.
        let mut samples: Vec<(u64, Vec<f64>)> = Vec::new();
        self.group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let pair = pair.get_or_insert_with(|| set_up.take().expect("set up once")());
                // Who goes first has the colder caches: they take turns at that too.
                let job_first = samples.len().is_multiple_of(2);
                let mut seconds = Vec::new();
                let per_iteration =
                    |spent: Duration| spent.as_secs_f64() / iterations.max(1) as f64;
                let mut spent = Duration::ZERO;
                if job_first {
                    spent = (pair.job)(iterations);
                }
                for floor in &mut pair.floors {
                    seconds.push(per_iteration((floor.timed)(iterations)));
                }
                if !job_first {
                    spent = (pair.job)(iterations);
                }
                seconds.insert(0, per_iteration(spent));
                samples.push((iterations, seconds));
                spent
            });
        });
        let (Some(pair), Some((iterations, _))) = (pair, samples.last().cloned()) else {
            return;
        };
        // Measured samples all have the same length; those of the warm-up differ.
        let measured: Vec<&Vec<f64>> = samples
            .iter()
            .filter(|(count, _)| *count == iterations)
            .map(|(_, seconds)| seconds)
            .collect();
        let column = |at: usize| {
            Samples::new(
                measured
                    .iter()
                    .map(|seconds| work.amount / seconds[at])
                    .collect(),
            )
        };
        let job = column(0);
        let row = |floor: &str, floor_figure, ratio| Row {
            job: format!("{} {name}", self.name),
            figure: job.median(),
            unit: work.unit,
            spread: job.spread(),
            floor: floor.to_owned(),
            floor_figure,
            ratio,
            durability: work.durability,
            bar: bar.to_owned(),
        };
        if pair.floors.is_empty() {
            self.table.add(row("", None, None));
        }
        for (at, floor) in (1..).zip(&pair.floors) {
            let ratios = measured.iter().map(|seconds| seconds[at] / seconds[0]);
            let ratio = Samples::new(ratios.collect()).median();
            self.table
                .add(row(floor.name, Some(column(at).median()), Some(ratio)));
        }
    }
}
