//! A worker process: its entry, its handshake, its loop.

use std::{
    any::Any,
    collections::VecDeque,
    env, io,
    os::{fd::AsFd, unix::net::UnixStream},
    process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use serde::{Deserialize, Serialize};

use super::{
    builder::Call,
    flags,
    identity::{FunctionId, Identity},
    job::KNOWN_BOUNDS,
    transport::{SocketWorker, WorkerEnd},
    wire::{self, Malformed, Reader},
};
use crate::{
    codec,
    error::{Cause, TaskError},
    sys,
    task::Entry,
};

/// Set for a worker process: the pid of its parent. A task's own child processes inherit it, which is why its presence alone
/// proves nothing.
pub(super) const WORKER_VARIABLE: &str = "EXECUTOR_CORE_WORKER_OF";

static INITIALISED: AtomicBool = AtomicBool::new(false);
static IN_WORKER: AtomicBool = AtomicBool::new(false);
static TEST_WORKER: OnceLock<&str> = OnceLock::new();

/// The parent's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) identity: Identity,
    pub(super) initializer: Option<Call>,
}

/// The first line of `main` in every program that uses process pools.
///
/// Worker processes are this program, started again. In one of them this call never returns: it runs tasks until the pool
/// has no more, and exits. In the program itself it returns at once. What stands before it in `main` runs in every worker
/// as well.
///
/// # Examples
///
/// ```
/// executor_core::init();
/// println!("only the program itself gets here, never a worker");
/// ```
pub fn init() {
    // ORDERING: flags that stand for themselves.
    INITIALISED.store(true, Ordering::Relaxed);
    let Some(parent) = env::var_os(WORKER_VARIABLE) else { return };
    let socket = match sys::take_over_stdin(&parent) {
        Ok(Some(socket)) => socket,
        // Not a worker but a process that a task has started.
        Ok(None) => return,
        Err(error) => give_up(&format!("failed to take over its standard input: {error}")),
    };
    IN_WORKER.store(true, Ordering::Relaxed);
    match serve(socket) {
        Ok(()) => process::exit(0),
        Err(error) => give_up(&error.to_string()),
    }
}

fn give_up(why: &str) -> ! {
    eprintln!("executor-core: a worker process ends: {why}");
    process::exit(70)
}

/// Whether this is a worker process.
#[must_use]
pub fn in_worker() -> bool {
    // ORDERING: set before any task runs.
    IN_WORKER.load(Ordering::Relaxed)
}

/// What [`test_worker!`](crate::test_worker) calls before `main`.
#[doc(hidden)]
pub fn register_test_worker(module: &'static str) {
    let _ = TEST_WORKER.set(module);
}

/// The arguments with which this program becomes a worker; `None` when it cannot.
pub(super) fn launch_arguments() -> Option<LaunchArguments> {
    if let Some(module) = TEST_WORKER.get() {
        // The harness knows tests by their path without the crate's name.
        let path = module.split_once("::").map_or_else(String::new, |(_, path)| format!("{path}::"));
        let test = format!("{path}executor_core_worker");
        let arguments = [&test, "--exact", "--test-threads=1", "--nocapture", "--quiet", "--include-ignored"];
        return Some(LaunchArguments { arguments: arguments.map(ToOwned::to_owned).to_vec(), null_stdout: true });
    }
    // ORDERING: as in `init`.
    let plain = || LaunchArguments { arguments: Vec::new(), null_stdout: false };
    INITIALISED.load(Ordering::Relaxed).then(plain)
}

/// How this program is started as a worker.
#[derive(Debug, Clone)]
pub(super) struct LaunchArguments {
    pub(super) arguments: Vec<String>,
    /// The test harness writes to standard output.
    pub(super) null_stdout: bool,
}

fn serve(socket: UnixStream) -> io::Result<()> {
    let watched = socket.try_clone()?;
    thread::Builder::new().name("executor-parent-watch".to_owned()).spawn(move || {
        sys::wait_for_hangup(watched.as_fd());
        // The parent is gone, and nobody will read what the task that runs may still do.
        sys::exit_now()
    })?;
    let mut first = [0; 4096];
    let (count, file) = sys::receive_with_fd(socket.as_fd(), &mut first)?;
    let file = file.ok_or_else(|| io::Error::other("the parent sent no shared memory"))?;
    flags::open_table(file)?;
    let mut parent = SocketWorker::new(socket, &first[..count]);
    let mut output = Vec::new();
    if !greet(&mut parent, &mut output)? {
        parent.send(&output)?;
        // The parent ends this process once it has read why.
        while parent.receive()?.is_some() {}
        return Ok(());
    }
    parent.send(&output)?;
    let mut tasks = Tasks::default();
    loop {
        output.clear();
        match parent.receive()? {
            None | Some((wire::BYE, _)) => return Ok(()),
            Some((wire::RUN, body)) => {
                // The frame's bytes live in the transport's buffer, which answers on the way do not touch.
                let body = body.to_vec();
                tasks.run(&body, &mut output, &mut parent)?;
            }
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        }
        // A large result's memory is not kept.
        output.shrink_to(64 * 1024);
    }
}

/// Handshake and initializer; the answer goes to `output`. `false` when no task may come.
fn greet(parent: &mut SocketWorker, output: &mut Vec<u8>) -> io::Result<bool> {
    let Some((wire::HELLO, body)) = parent.receive()? else { return Err(io::ErrorKind::InvalidData.into()) };
    let hello: Hello = codec::decode(body).map_err(|error| io::Error::other(error.to_string()))?;
    let own = Identity::of_this_program()?;
    let (kind, text) = if own != hello.identity {
        (wire::REFUSED, format!("the worker is another build ({own:?}) than its parent ({:?})", hello.identity))
    } else {
        match hello.initializer.map_or(Ok(()), |call| initialize(&call)) {
            Ok(()) => (wire::READY, String::new()),
            Err(cause) => (wire::INITIALIZER_FAILED, cause.to_string()),
        }
    };
    let start = wire::begin_frame(output, kind);
    output.extend_from_slice(text.as_bytes());
    wire::end_frame(output, start).map_err(|Malformed| io::ErrorKind::InvalidData)?;
    Ok(kind == wire::READY)
}

fn initialize((function, bound, argument): &Call) -> Result<(), Cause> {
    let run = || -> Result<Result<(), Cause>, TaskError> {
        let entry = function.find()?;
        let task = (entry.restore)(bound)?;
        let mut output = Vec::new();
        (entry.run)(&*task, argument, &mut output)?;
        codec::decode(&output).map_err(|cause| TaskError::decode("result", cause))
    };
    run().unwrap_or_else(|error| Err(Cause::new(error)))
}

/// Functions and configurations that this worker has seen.
#[derive(Default)]
struct Tasks {
    /// Encoded configurations by their number, the oldest first; the parent forgets in the same order.
    bounds: VecDeque<(u64, Vec<u8>)>,
    /// The task that ran last, restored: tasks come in runs of the same function.
    last: Option<(u64, u64, Box<dyn Any>)>,
}

impl Tasks {
    fn run(&mut self, body: &[u8], output: &mut Vec<u8>, parent: &mut SocketWorker) -> io::Result<()> {
        let malformed = |Malformed| io::Error::from(io::ErrorKind::InvalidData);
        let mut reader = Reader(body);
        let id = reader.u64().map_err(malformed)?;
        let function =
            FunctionId { offset: reader.u64().map_err(malformed)?, name_hash: reader.u64().map_err(malformed)? };
        let bound = reader.u64().map_err(malformed)?;
        if reader.u8().map_err(malformed)? == 1 {
            self.bounds.push_back((bound, reader.bytes().map_err(malformed)?.to_vec()));
            if self.bounds.len() > KNOWN_BOUNDS {
                self.bounds.pop_front();
            }
        }
        let task = self.find(function, bound);
        let start = Instant::now();
        let mut ran_for = 0;
        while !reader.0.is_empty() {
            let index = reader.u32().map_err(malformed)?;
            let argument = reader.bytes().map_err(malformed)?;
            let frame = wire::begin_frame(output, wire::ANSWER);
            output.extend_from_slice(&id.to_le_bytes());
            output.extend_from_slice(&index.to_le_bytes());
            output.push(0);
            let outcome = match &task {
                Ok((entry, task)) => (entry.run)(*task, argument, output),
                Err(error) => Err(error.clone()),
            };
            let outcome = outcome.and_then(|()| match wire::end_frame(output, frame) {
                Ok(()) => Ok(()),
                Err(Malformed) => Err(TaskError::encode("result", "it is longer than 1 GiB")),
            });
            if let Err(error) = outcome {
                output.truncate(frame);
                put_error(output, id, index, &error);
            }
            ran_for = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            // An answer is on its way before the next item begins: should that one end this process, the parent knows
            // which item it was, and has the others.
            if !reader.0.is_empty() {
                parent.send(output)?;
                output.clear();
            }
        }
        let frame = wire::begin_frame(output, wire::DONE);
        output.extend_from_slice(&id.to_le_bytes());
        output.extend_from_slice(&ran_for.to_le_bytes());
        wire::end_frame(output, frame).map_err(malformed)?;
        parent.send(output)
    }

    fn find(&mut self, function: FunctionId, bound: u64) -> Result<(&'static Entry, &dyn Any), TaskError> {
        let entry = function.find()?;
        let key = (function.offset, bound);
        if self.last.as_ref().is_none_or(|(offset, bound, _)| (*offset, *bound) != key) {
            let config = if bound == 0 {
                &[][..]
            } else {
                let found = self.bounds.iter().find(|(number, _)| *number == bound);
                &found.ok_or_else(|| TaskError::decode("configuration", "the worker does not have it"))?.1
            };
            self.last = Some((function.offset, bound, (entry.restore)(config)?));
        }
        match &self.last {
            Some((_, _, task)) => Ok((entry, &**task)),
            None => Err(TaskError::decode("configuration", "the worker does not have it")),
        }
    }
}

fn put_error(output: &mut Vec<u8>, id: u64, index: u32, error: &TaskError) {
    let frame = wire::begin_frame(output, wire::ANSWER);
    output.extend_from_slice(&id.to_le_bytes());
    output.extend_from_slice(&index.to_le_bytes());
    output.push(1);
    // Plain data that always encodes, and far below the limit.
    let _ = codec::encode(error, output);
    let _ = wire::end_frame(output, frame);
}
