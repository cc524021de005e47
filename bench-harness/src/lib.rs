//! The lab as a library: it plans, measures, analyses, and hands the run to `reports`.
//!
//! The `lab` binary is [`main`] and nothing else. A sample is taken in a process of its own, which is the same program
//! started again, so a program with the lab in it has nothing before [`main`] in its own `main`.
#![deny(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod cell;
mod cli;
mod compare;
mod date;
mod error;
mod executors;
mod experiments;
mod lane;
mod machine;
mod noise;
mod own_input;
mod peers;
mod place;
mod plan;
mod real_input;
mod runner;
mod server;
mod stats;
mod tell;

use std::process::ExitCode;

/// Does what the command line says, and tells what went wrong. In a worker process it does not return.
#[must_use]
pub fn main() -> ExitCode {
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
