//! One trouble at one place, named so that it can be had again.

use std::fmt;
use std::str::FromStr;

use strandlog_engine::storage::sim::{Fault, Repeat};

/// What goes wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// The power goes at a step, and leaves this.
    Cut { script: u64, step: u64, left: u64 },
    /// The process is killed at a step, and soon after the next has begun the power goes.
    Kill { script: u64, step: u64, left: u64 },
    /// The power goes at any step, and then during the recovery, three times in a row.
    Deep { seed: u64 },
    /// A call fails, once or from then on.
    Fail {
        script: u64,
        step: u64,
        fault: Fault,
        repeat: Repeat,
    },
    /// A call takes long, or all of them from then on, and readers come by meanwhile.
    Slow {
        script: u64,
        step: u64,
        repeat: Repeat,
    },
    /// Failing calls, kills and power cuts in any order.
    Mixed { seed: u64 },
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { script, step, left } => write!(f, "cut {script} {step} {left}"),
            Self::Kill { script, step, left } => write!(f, "kill {script} {step} {left}"),
            Self::Deep { seed } => write!(f, "deep {seed}"),
            Self::Fail {
                script,
                step,
                fault,
                repeat,
            } => write!(f, "fail {script} {step} {fault:?} {repeat:?}"),
            Self::Slow {
                script,
                step,
                repeat,
            } => write!(f, "slow {script} {step} {repeat:?}"),
            Self::Mixed { seed } => write!(f, "mixed {seed}"),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let number = |at: usize| -> Result<u64, String> {
            let word: &&str = words.get(at).ok_or("too few words")?;
            word.parse().map_err(|_| format!("{word} is no number"))
        };
        Ok(match words.first().copied() {
            Some("cut") => Self::Cut {
                script: number(1)?,
                step: number(2)?,
                left: number(3)?,
            },
            Some("kill") => Self::Kill {
                script: number(1)?,
                step: number(2)?,
                left: number(3)?,
            },
            Some("deep") => Self::Deep { seed: number(1)? },
            Some("mixed") => Self::Mixed { seed: number(1)? },
            Some("fail") => Self::Fail {
                script: number(1)?,
                step: number(2)?,
                fault: Fault::ALL
                    .into_iter()
                    .find(|fault| Some(&&*format!("{fault:?}")) == words.get(3))
                    .ok_or("no such fault")?,
                repeat: repeat(words.get(4))?,
            },
            Some("slow") => Self::Slow {
                script: number(1)?,
                step: number(2)?,
                repeat: repeat(words.get(3))?,
            },
            _ => return Err(format!("{text:?} names no case")),
        })
    }
}

fn repeat(word: Option<&&str>) -> Result<Repeat, String> {
    [Repeat::Once, Repeat::FromThenOn]
        .into_iter()
        .find(|repeat| Some(&&*format!("{repeat:?}")) == word)
        .ok_or_else(|| "once or from then on?".to_owned())
}
