//! A sample in a process of its own: nothing that an earlier sample left behind (memory layout, caches, threads) can reach it.

use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::cell::{CellSpec, Measured};

/// A sample that takes longer is stopped, and its cell has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// Takes one sample. The error is for people.
pub(crate) fn sample(cell: &CellSpec) -> Result<Measured, String> {
    let input = serde_json::to_vec(cell).map_err(|error| error.to_string())?;
    let output = run_lab("sample", &input, LIMIT)?;
    serde_json::from_slice(&output).map_err(|error| format!("its answer makes no sense: {error}"))
}

/// Runs a hidden command of this binary with `input`, for at most `limit`.
pub(crate) fn run_lab(command: &str, input: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command_line = Command::new(program);
    command_line.arg(command);
    run_command(command_line, input, limit)
}

/// Runs a command with `input`, for at most `limit`; its standard output, or what went wrong with the end of its standard
/// error.
pub(crate) fn run_command(mut command: Command, input: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for the lab, which then keeps what it has.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that does not read says why on its standard error.
        let _ = stdin.write_all(input);
    }
    let read = |stream: Option<Box<dyn Read + Send>>| {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                let _ = stream.read_to_end(&mut bytes);
            }
            let _ = sender.send(bytes);
        });
        receiver
    };
    let output = read(child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let errors = read(child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let Ok(output) = output.recv_timeout(limit) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("no answer within {} s", limit.as_secs()));
    };
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(output);
    }
    let errors = errors.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let errors = String::from_utf8_lossy(&errors);
    let tail: Vec<_> = errors.lines().rev().take(5).collect();
    Err(format!("{status}: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" | ")))
}
