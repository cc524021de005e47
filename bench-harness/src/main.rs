//! The `lab` binary: plans, measures, analyses, and hands the run to `reports`.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used)]

mod cell;
mod cli;
mod compare;
mod error;
mod executors;
mod experiments;
mod machine;
mod noise;
mod peers;
mod plan;
mod real_input;
mod runner;
mod stats;

use std::process::ExitCode;

fn main() -> ExitCode {
    // In a worker process neither of these returns.
    executor_core::init();
    peers::init();
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", error::chain(&error));
            error.exit_code()
        }
    }
}
