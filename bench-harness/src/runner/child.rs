//! A sample in a process of its own: no state of an earlier sample (memory layout, caches, threads) can affect it.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

#[cfg(unix)]
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::process_tree;
use crate::cell::{CellSpec, Measured};

/// The longest that a sample may take, unless its work needs more; then it is stopped, and its cell has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// The pause between two readings of a sample's memory. It is shorter than the life of a worker process that is started for
/// one task.
const MEMORY_INTERVAL: Duration = Duration::from_millis(1);

/// Takes one sample. The error is a message for people.
pub(crate) fn sample(cell: &CellSpec) -> Result<Measured, String> {
    take(cell, &[], None)
}

/// Takes one sample with these variables in the environment of its process and its workers.
pub(crate) fn sample_in(cell: &CellSpec, environment: &[(&str, &str)]) -> Result<Measured, String> {
    take(cell, environment, None)
}

/// The highest memory of all processes of a sample together, as it was seen from outside: the kernel keeps no peak of it. The
/// sample is taken for this alone, because the readings take time from its tasks. `None` where the system has no such figure.
pub(crate) fn peak_memory(cell: &CellSpec) -> Option<u64> {
    let mut peak = None;
    take(cell, &[], Some(&mut |pid| peak = peak.max(process_tree::memory(pid)))).ok()?;
    peak
}

fn take(cell: &CellSpec, environment: &[(&str, &str)], watch: Option<Watch<'_>>) -> Result<Measured, String> {
    let input = serde_json::to_vec(cell).map_err(|error| error.to_string())?;
    let limit = cell.work.limit().map_or(LIMIT, |limit| limit.max(LIMIT));
    let (mut command, group) = lab("sample")?;
    command.envs(environment.iter().copied());
    let output = talk((command, group), &input, limit, watch)?;
    serde_json::from_slice(&output).map_err(|error| format!("invalid output: {error}"))
}

/// An action that is repeated while the process runs.
type Watch<'a> = &'a mut dyn FnMut(u32);

/// Process groups that run for this process. The thread that starts or reaps a leader holds the lock, so that a number in
/// here is never that of another group.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a hidden command of this binary with `input`, for at most `limit`. All processes that it has started end with it.
pub(crate) fn run_lab(command: &str, input: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    talk(lab(command)?, input, limit, None)
}

/// A hidden command of this binary.
fn lab(command: &str) -> Result<(Command, Group), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command_line = Command::new(program);
    command_line.arg(command);
    // Ctrl-C is for the lab, which then keeps the samples that it has.
    Ok(in_group(command_line))
}

fn in_group(mut command: Command) -> (Command, Group) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    (command, Group::Own)
}

/// Like [`run_command`], and all processes that the command has started end with it.
pub(crate) fn run_group(command: Command, input: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    talk(in_group(command), input, limit, None)
}

/// Runs a command with `input`, for at most `limit`; its standard output, or the failure with the end of its standard
/// error.
pub(crate) fn run_command(command: Command, input: &[u8], limit: Duration) -> Result<Vec<u8>, String> {
    talk((command, Group::Same), input, limit, None)
}

/// The process group of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Own,
    Same,
}

fn talk(
    (mut command, group): (Command, Group),
    input: &[u8],
    limit: Duration,
    mut watch: Option<Watch<'_>>,
) -> Result<Vec<u8>, String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = {
        let mut groups = groups();
        let child = command.spawn().map_err(|error| error.to_string())?;
        groups.extend((group == Group::Own).then_some(child.id()));
        child
    };
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A child that does not read its input says why on its standard error, or says nothing until its time is up.
        thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
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
    let deadline = Instant::now() + limit;
    let output = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let pause = if watch.is_some() { left.min(MEMORY_INTERVAL) } else { left };
        match output.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) if pause < left => watch.iter_mut().for_each(|watch| watch(child.id())),
            answer => break answer,
        }
    };
    let Ok(output) = output else {
        let _ = child.kill();
        let _ = end(&mut child);
        return Err(format!("no answer within {} s", limit.as_secs()));
    };
    let status = end(&mut child).map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(output);
    }
    let errors = errors.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    let errors = String::from_utf8_lossy(&errors);
    let tail: Vec<_> = errors.lines().rev().take(5).collect();
    Err(format!("{status}: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" | ")))
}

/// Waits for the child, and ends the processes that it leaves behind in its group.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    #[cfg(unix)]
    if let Some(pid) = pid(child.id()) {
        // The child is not reaped yet, so that its number is not used again. The lock is not held, since this may take long.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }
    let mut groups = groups();
    if let Some(place) = groups.iter().position(|leader| *leader == child.id()) {
        kill(groups.swap_remove(place));
    }
    child.wait()
}

/// Ends this program, and all processes that run for it.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // The lock is kept, so that no new process can be started.
    let groups = groups();
    for &leader in groups.iter() {
        kill(leader);
        // Its worker processes are not part of the group; the kernel has signaled them before the leader is seen to have ended.
        #[cfg(unix)]
        let _ = pid(leader).map(|pid| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
    }
    std::process::exit(code)
}

/// Called in the child process: it ends with the lab, since a lab that was killed reads no answer, and the child would disturb
/// the next measurement.
pub(crate) fn end_with_the_lab() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

#[cfg(unix)]
fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

#[cfg(unix)]
fn kill(leader: u32) {
    // This fails only where the lab is gone already.
    let _ = pid(leader).map(|pid| kill_process_group(pid, Signal::KILL));
}

#[cfg(not(unix))]
fn kill(_: u32) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// The shell and this script, which is not made of anything from outside.
    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_that_neither_reads_nor_ends_is_stopped_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        // More than a pipe holds.
        let input = vec![b'x'; 1 << 20];
        let mut command = sh("sleep 600 & echo $! >\"$PIDS\"; sleep 600");
        command.env("PIDS", &pids);
        let error = run_group(command, &input, Duration::from_secs(3)).unwrap_err();
        assert_eq!(error, "no answer within 3 s");
        let left: i32 = std::fs::read_to_string(&pids).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::fs::read_to_string(format!("/proc/{left}/stat")).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "{left} lives on");
            thread::yield_now();
        }
    }

    #[test]
    fn a_program_that_leaves_its_input_has_its_answer_and_its_error_taken() {
        let input = vec![b'x'; 1 << 20];
        assert_eq!(run_group(sh("echo answer"), &input, LIMIT).unwrap(), b"answer\n");
        let error = run_group(sh("echo why >&2; exit 3"), &input, LIMIT).unwrap_err();
        assert_eq!(error, "exit status: 3: why");
    }
}
