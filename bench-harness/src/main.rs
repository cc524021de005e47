//! The `lab` binary: plans, measures, analyses, and hands the run to `reports`.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod cell;
mod cli;
mod compare;
mod error;
mod executors;
mod experiments;
mod lane;
mod machine;
mod noise;
mod own_input;
mod peers;
mod plan;
mod real_input;
mod runner;
mod stats;
mod tell;

use std::process::ExitCode;

fn main() -> ExitCode {
    // In a worker process neither of these returns.
    executor_core::init();
    peers::init();
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            tell::tell!("error: {}", error::chain(&error));
            error.exit_code()
        }
    }
}
