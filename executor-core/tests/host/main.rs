//! What workers inherit from the program, its system and its terminal, and what they leave behind.
//!
//! Tests that change the whole process run in programs of their own: ignored tests, which other tests start.
#![cfg(target_os = "linux")]

mod children;
mod ends;
mod namespaces;
#[path = "../pool_kinds/mod.rs"]
mod pool_kinds;
mod rights;
mod terminal;

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use executor_core::{ProcessPoolBuilder, StartMethod, Transport};
use pool_kinds::Kind;

executor_core::test_worker!();

fn kinds() -> impl Iterator<Item = Kind> {
    let transports = [Transport::SharedMemory, Transport::Socket];
    let with = |method| move |transport| Kind { transport, method };
    transports.map(with(StartMethod::Spawn)).into_iter().chain(transports.map(with(StartMethod::ForkServer)))
}

/// Runs a test of this binary, which is named with its module, as a program.
fn program(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

fn succeeds(name: &str) {
    ends_well(&mut program(name));
}

fn ends_well(program: &mut Command) {
    let output = program.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // A name that no test has would succeed as well.
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn square(x: u64) -> u64 {
    x * x
}

/// Whether the process is there and more than a zombie.
fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Its signal was sent before the event that the caller has seen, and the kernel acts on it soon.
fn ends_soon(pid: u32) -> bool {
    let start = Instant::now();
    while is_alive(pid) {
        if start.elapsed() > Duration::from_secs(60) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn one_worker(kind: Kind) -> ProcessPoolBuilder {
    kind.builder().max_workers(1).grace(Duration::from_secs(20))
}

fn never_return(_: ()) {
    loop {
        std::thread::park();
    }
}

/// A worker that ends by itself, and so writes what is in its buffers.
fn exit(_: ()) {
    std::process::exit(0);
}
