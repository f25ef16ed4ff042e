//! The results file: a line of JSON for each slice, so that a run can go on where it was ended.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rig::Tally;

/// A line.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) rig: String,
    pub(crate) seed: u64,
    pub(crate) commit: String,
    /// `sound`, or `control` where something was done wrong on purpose.
    pub(crate) kind: String,
    pub(crate) first_cycle: u64,
    pub(crate) cycles: u64,
    pub(crate) acks: u64,
    pub(crate) lost: u64,
    pub(crate) duplicates: u64,
    pub(crate) gaps: u64,
    pub(crate) reordered: u64,
    pub(crate) taken_back: u64,
    pub(crate) split: u64,
    pub(crate) checkpoints: u64,
    pub(crate) other: u64,
    pub(crate) duration_s: f64,
    pub(crate) figures: serde_json::Value,
    /// `passed`, `failed`, `noticed`, `not noticed`, `skipped: why`, `broken: why`.
    pub(crate) verdict: String,
    pub(crate) words: Vec<String>,
}

impl Line {
    /// A line about `tally`.
    pub(crate) fn new(
        rig: &str,
        (seed, commit): (u64, &str),
        control: bool,
        first_cycle: u64,
        tally: &Tally,
        duration: Duration,
        verdict: String,
    ) -> Self {
        let findings = &tally.findings;
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let figures = tally
            .figures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), serde_json::Value::from(rounded(*value))));
        Self {
            rig: rig.to_owned(),
            seed,
            commit: commit.to_owned(),
            kind: if control { "control" } else { "sound" }.to_owned(),
            first_cycle,
            cycles: tally.cycles,
            acks: tally.acknowledged,
            lost: findings.lost,
            duplicates: findings.duplicates,
            gaps: findings.gaps,
            reordered: findings.reordered,
            taken_back: findings.taken_back,
            split: findings.split,
            checkpoints: findings.checkpoints,
            other: findings.other,
            duration_s: rounded(duration.as_secs_f64()),
            figures: figures.collect::<serde_json::Map<_, _>>().into(),
            verdict,
            // What a control finds was meant to be found: one example is enough.
            words: findings
                .words
                .iter()
                .take(if control { 1 } else { 12 })
                .cloned()
                .collect(),
        }
    }
}

/// Adds a line to the file.
pub(crate) fn append(path: &Path, line: &Line) -> Result<(), String> {
    let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut text = serde_json::to_string(line).map_err(|error| describe(&error))?;
    text.push('\n');
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| describe(&error))?;
    file.write_all(text.as_bytes())
        .map_err(|error| describe(&error))
}

/// Removes the beginning of a line that a run could not end, so that no other line is added to it.
pub(crate) fn mend(path: &Path) -> Result<(), String> {
    let text = read(path)?;
    let whole = text.rfind('\n').map_or(0, |at| at + 1);
    if whole == text.len() {
        return Ok(());
    }
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_len(whole as u64))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The text of the file, which need not be there yet.
fn read(path: &Path) -> Result<String, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// How many cycles of a rig the file holds for a seed.
pub(crate) fn done(path: &Path, rig: &str, seed: u64) -> Result<u64, String> {
    let text = read(path)?;
    let mut cycles = 0;
    for (number, text) in (1..).zip(text.lines()) {
        let line: Line = serde_json::from_str(text)
            .map_err(|error| format!("{} line {number}: {error}", path.display()))?;
        if line.rig == rig && line.seed == seed && line.kind == "sound" {
            cycles = cycles.max(line.first_cycle + line.cycles);
        }
    }
    Ok(cycles)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_run_goes_on_behind_the_last_whole_line_of_its_rig_and_seed() {
        let name = format!("strandlog-torture-results-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _old = fs::remove_file(&path);
        assert_eq!(done(&path, "kill", 7), Ok(0));
        mend(&path).unwrap();
        let line = |rig: &str, seed, control, first, cycles| {
            let mut tally = Tally::default();
            tally.cycles = cycles;
            let took = Duration::from_secs(1);
            Line::new(
                rig,
                (seed, "c"),
                control,
                first,
                &tally,
                took,
                "passed".to_owned(),
            )
        };
        for of in [
            line("kill", 7, true, 0, 90),
            line("kill", 7, false, 0, 12),
            line("kill", 7, false, 12, 5),
            line("stop", 7, false, 0, 80),
            line("kill", 8, false, 0, 70),
        ] {
            append(&path, &of).unwrap();
        }
        // What was written when the run was killed.
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"rig\":\"kill\",\"seed\":7,\"first_cyc")
            .unwrap();
        mend(&path).unwrap();
        assert_eq!(done(&path, "kill", 7), Ok(17));
        append(&path, &line("kill", 7, false, 17, 3)).unwrap();
        assert_eq!(done(&path, "kill", 7), Ok(20));
        fs::remove_file(&path).unwrap();
    }
}
