//! The table at the end of a run: each job, its figure, its floor, and what part of the floor it
//! reaches.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use super::machine;

/// Samples of one quantity.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value below which this part of the samples lies.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get((last as f64 * part).round() as usize)
            .copied()
            .unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Half the distance between the quartiles, as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        (self.at(0.75) - self.at(0.25)) / 2.0 / self.median()
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) job: String,
    /// The median.
    pub(crate) figure: f64,
    pub(crate) unit: &'static str,
    /// See [`Samples::spread`].
    pub(crate) spread: f64,
    pub(crate) floor: String,
    /// The median of the floor, in the same unit; none if the job stands alone.
    pub(crate) floor_figure: Option<f64>,
    /// What part of the floor the job reaches: above 1 it is better than the floor.
    pub(crate) ratio: Option<f64>,
    pub(crate) durability: &'static str,
    /// What is to be reached, and whether it is.
    pub(crate) bar: String,
}

/// All lines of a run.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(title: &'static str) -> Self {
        Self {
            title,
            rows: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// Prints the table, and adds it to the CSV file if there is to be one.
    pub(crate) fn finish(&self, dir: &Path, csv: Option<&Path>) {
        if self.rows.is_empty() {
            return;
        }
        println!("\n{}", self.title);
        for line in machine::lines(dir) {
            println!("  {line}");
        }
        print!("{}", self.text());
        if let Some(csv) = csv {
            self.append_csv(csv);
        }
    }

    fn text(&self) -> String {
        let mut lines = vec![
            [
                "job",
                "median",
                "",
                "+-",
                "floor",
                "median",
                "ratio",
                "durability",
                "bar",
            ]
            .map(str::to_owned),
        ];
        lines.extend(self.rows.iter().map(|row| {
            [
                row.job.clone(),
                number(row.figure),
                row.unit.to_owned(),
                format!("{:.0} %", row.spread * 100.0),
                row.floor.clone(),
                row.floor_figure.map_or_else(String::new, number),
                row.ratio
                    .map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                row.durability.to_owned(),
                row.bar.clone(),
            ]
        }));
        let widths: Vec<usize> = (0..9)
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].len())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in &lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Numbers to the right.
                let _written = if matches!(column, 1 | 3 | 5 | 6) {
                    write!(text, "{cell:>width$}  ")
                } else {
                    write!(text, "{cell:<width$}  ")
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    fn append_csv(&self, path: &Path) {
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        if file.metadata().unwrap().len() == 0 {
            writeln!(
                file,
                "bench,job,median,unit,spread,floor,floor_median,ratio,durability,bar"
            )
            .unwrap();
        }
        for row in &self.rows {
            let optional =
                |figure: Option<f64>| figure.map_or_else(String::new, |it| format!("{it:.4}"));
            writeln!(
                file,
                "{},{},{:.4},{},{:.3},{},{},{},{},{}",
                quoted(self.title),
                quoted(&row.job),
                row.figure,
                quoted(row.unit),
                row.spread,
                quoted(&row.floor),
                optional(row.floor_figure),
                optional(row.ratio),
                quoted(row.durability),
                quoted(&row.bar),
            )
            .unwrap();
        }
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Three digits that matter, thousands apart.
fn number(value: f64) -> String {
    if value.abs() >= 1_000.0 {
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        return grouped;
    }
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}
