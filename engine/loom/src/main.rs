//! The engine's modules that hand things from thread to thread, as they stand there, over the types
//! of a model checker (`sync.rs`), and the checks of them: `cargo run`.
//!
//! A check runs its threads in every order of their steps, with up to three switches away from a
//! thread that could go on. What is found is an order in which an assertion fails or somebody waits
//! for ever. A failure tells which; with `LOOM_CHECKPOINT_FILE=FILE` that order is kept and played
//! again.
//!
//! The controls run a check with a fault below it, in a process of its own, where it must fail.
//! Not a test of cargo's: those of the modules themselves would run here, too, and know no checker.
#![allow(dead_code, reason = "not all that the engine uses is checked here")]

#[path = "../../src/ends.rs"]
mod ends;
mod handoffs;
#[path = "../../src/position.rs"]
mod position;
#[path = "../../src/queue.rs"]
mod queue;
mod sync;
#[path = "../../src/ticket.rs"]
mod ticket;
#[path = "../../src/waiters.rs"]
mod waiters;

use std::env;
use std::process::{Command, ExitCode};

use handoffs::*;
use sync::Fault;

/// The checks by name.
const CHECKS: [(&str, fn()); 8] = [
    ("publishers and a writer", publishers_and_a_writer),
    ("a queue that closes", a_queue_that_closes),
    ("a ticket that is dropped", a_ticket_that_is_dropped),
    ("an answer to a future", an_answer_to_a_future),
    ("a reader that waits", a_reader_that_waits),
    ("a future that waits", a_future_that_waits),
    ("an end that moves no more", an_end_that_moves_no_more),
    ("an end that is durable first", an_end_that_is_durable_first),
];

/// A check that must fail.
struct Control {
    name: &'static str,
    fault: Fault,
    check: fn(),
    /// What it must say.
    says: &'static str,
}

const CONTROLS: [Control; 5] = [
    Control {
        name: "publishers, and nobody is told",
        fault: Fault::DeafConditions,
        check: publishers_and_a_writer,
        says: "deadlock",
    },
    Control {
        name: "a reader, and nobody is told",
        fault: Fault::DeafConditions,
        check: a_reader_that_waits,
        says: "deadlock",
    },
    Control {
        name: "a reader, and the end orders nothing",
        fault: Fault::RelaxedAtomics,
        check: a_reader_that_waits,
        says: "a record that is not written",
    },
    Control {
        name: "a reader, and the end is published before the write",
        fault: Fault::None,
        check: a_writer_that_is_too_quick,
        says: "a record",
    },
    Control {
        name: "two ends, and they order nothing",
        fault: Fault::RelaxedAtomics,
        check: an_end_that_is_durable_first,
        says: "readable, and not durable",
    },
];

fn main() -> ExitCode {
    if let Some(name) = env::args().nth(1) {
        let Some(control) = CONTROLS.iter().find(|control| control.name == name) else {
            eprintln!("there is no control {name:?}");
            return ExitCode::FAILURE;
        };
        sync::plant(control.fault);
        (control.check)();
        return ExitCode::SUCCESS;
    }
    for (name, check) in CHECKS {
        check();
        println!("held: {name}");
    }
    let mut is_noticed = true;
    for control in &CONTROLS {
        let outcome = noticed(control);
        println!("{}: {}", outcome.unwrap_or("NOT noticed"), control.name);
        is_noticed &= outcome.is_some();
    }
    if is_noticed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs the check with its fault: a model checker that has found something is of no further use.
fn noticed(control: &Control) -> Option<&'static str> {
    let this = env::current_exe().ok()?;
    let output = Command::new(this).arg(control.name).output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_noticed = !output.status.success() && said.contains(control.says);
    if !is_noticed {
        eprintln!("{said}");
    }
    is_noticed.then_some("noticed")
}
