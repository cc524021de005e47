//! The `lab` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench_harness::Lab::new().run()
}
