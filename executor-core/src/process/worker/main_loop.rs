//! A worker's handshake and its loop.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::{
    any::Any,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process, thread,
    time::{Duration, Instant},
};

use crate::{
    codec::{self, Output, limits::MAX_ENCODED},
    error::{Cause, TaskError},
    future::callbacks::drop_elsewhere,
    portable::{arguments::Items, call::Call, entry::Entry, function_id::FunctionId, results},
    process::{
        config::Transport,
        transport::{Record, ReplyHeader, ReplyKind, Request, SocketTransport, SocketWorker, WorkerEnd},
        wire::{
            birth::TRY_AGAIN,
            frame::{self, DEFINITIONS},
            handshake::Hello,
            identity::Identity,
        },
    },
    role::end_if_copy,
    span, sys,
    untrusted::Malformed,
};

#[cfg(target_os = "linux")]
static MEMORY_IS_LIMITED: AtomicBool = AtomicBool::new(false);

pub(super) fn leave(outcome: io::Result<()>) -> ! {
    match outcome {
        Ok(()) => process::exit(0),
        Err(error) => give_up(&error),
    }
}

/// Ends a process that could not begin, or not go on.
pub(super) fn give_up(error: &io::Error) -> ! {
    end_for(error, &error.to_string())
}

/// The same, of one that cannot tell the program of the step that has failed.
pub(super) fn give_up_at(step: &str, error: &io::Error) -> ! {
    end_for(error, &format!("failed to {step}: {error}"))
}

fn end_for(error: &io::Error, why: &str) -> ! {
    // Not `eprintln`, which panics where nothing can be written: then it would be the panic that ends the process, or only this
    // thread.
    let _ = writeln!(io::stderr(), "executor-core: a worker process ends: {why}");
    process::exit(if sys::is_for_a_moment(error) { TRY_AGAIN } else { 70 })
}

/// Tells the program which step of this worker's start has failed for want of a resource that another worker may get in a moment.
/// The error ends this one.
pub(super) fn step<T>(socket: &UnixStream, what: &str, outcome: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &outcome
        && sys::is_for_a_moment(error)
    {
        let mut frame = Vec::new();
        let start = frame::begin_frame(&mut frame, frame::SHORTAGE);
        frame.extend_from_slice(frame::cut(&format!("{what}: {error}")).as_bytes());
        // It was cut.
        let _ = frame::end_frame(&mut frame, start);
        sys::send_if_room(socket.as_fd(), &frame);
    }
    outcome
}

/// The life of a worker whose socket another thread watches.
pub(in crate::process) fn live(socket: UnixStream) -> ! {
    leave(serve(socket))
}

pub(super) fn watch_parent(parent: sys::Parent, socket: &UnixStream, ends_group: bool) -> io::Result<()> {
    let watched = step(socket, "duplicate its socket", socket.try_clone())?;
    let thread = thread::Builder::new()
        .name("executor-parent-watch".to_owned())
        .spawn(move || end_with_parent(&parent, &watched, ends_group));
    step(socket, "start a thread", thread).map(drop)
}

/// Waits for the end of the program, and ends this process: no process will read the result of the task that runs.
pub(super) fn end_with_parent(parent: &sys::Parent, socket: &UnixStream, ends_group: bool) -> ! {
    parent.wait_for_end(socket.as_fd());
    if ends_group { sys::exit_with_group() } else { sys::exit_now() }
}

/// After this time the thread that watches the program has long noticed that it is gone.
const LONG_GONE: Duration = Duration::from_secs(5);

/// The life of a worker from its handshake on. Another thread watches the program already.
pub(super) fn serve(socket: UnixStream) -> io::Result<()> {
    let own = step(&socket, "duplicate its socket", socket.try_clone())?;
    let outcome = serve_requests(socket, &own);
    // The program is gone, killed in the middle of something. How this process ends, and whether its group ends with it, is for the
    // thread that watches the program to decide: an exit from here would leave behind what tasks have started, and an error text in
    // the terminal. Where the other end is open, a task has closed this end.
    if outcome.as_ref().is_err_and(is_hang_up) && sys::is_hung_up(own.as_fd())? {
        thread::sleep(LONG_GONE);
    }
    outcome
}

/// Whether an error says that the program's end of the socket is closed.
fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// `own` is another descriptor of the socket.
fn serve_requests(socket: UnixStream, own: &UnixStream) -> io::Result<()> {
    let mut first = [0; 4096];
    let received = sys::receive_with_fds(socket.as_fd(), &mut first);
    let received = received.and_then(sys::Received::with_all_files);
    let sys::Received { bytes: count, mut files, .. } = step(own, "receive the program's files", received)?;
    let mut parent = SocketWorker::new(socket, &first[..count]);
    #[cfg(target_os = "linux")]
    step(own, "duplicate its socket", parent.let_others_kick())?;
    let mut output = Vec::new();
    let Greeting { is_ready, transport, recycle_above } = greet(&mut parent, &mut files, &mut output)?;
    if !is_ready {
        parent.send(&output)?;
        // The parent ends this process once it has read why.
        while parent.receive()?.is_some() {}
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match transport {
        Transport::Socket => {
            let parent = SocketTransport::new(parent);
            parent.send_control(&output)?;
            run_tasks(&parent, recycle_above)
        }
        #[cfg(target_os = "linux")]
        Transport::SharedMemory => {
            let files = files.try_into().map_err(|_| io::Error::other("the parent sent no rings"))?;
            let rings = crate::process::transport::RingWorker::new(parent, &files);
            let rings = step(own, "map its rings", rings)?;
            drop(files);
            rings.send_control(&output)?;
            run_tasks(&rings, recycle_above)
        }
    }
}

/// Bytes of a request's content for which memory is kept. A longer one is never in a ring.
const KEPT_BODY: usize = 64 * 1024;

/// Runs tasks until no more come.
fn run_tasks(parent: &impl WorkerEnd, recycle_above: Option<u64>) -> io::Result<()> {
    let mut tasks = Tasks::default();
    let mut growth = recycle_above.map(Growth::new);
    let mut body = Vec::new();
    while let Some(Request { record, number, waited }) = parent.next(&mut body)? {
        match record {
            Record::Define { definition, offset, name_hash, bound } => {
                let bound = bound.unwrap_or_default();
                let function = FunctionId { offset, name_hash };
                let length = bound.len();
                let short = (length <= KEPT_BODY).then(|| bound.to_vec());
                let bound = short.unwrap_or_else(|| {
                    // So long a one is the end of the body, and keeps its memory: a copy might not fit into a limit.
                    body.drain(..body.len() - length);
                    std::mem::take(&mut body)
                });
                tasks.define(definition, function, bound);
            }
            Record::Run { definition, items, bytes } => {
                forget_refused_allocations();
                let timed = tasks.run(parent, definition, number, items, bytes, waited)?;
                if timed && growth.as_mut().is_some_and(Growth::is_too_large) {
                    parent.send_control(&[1, 0, 0, 0, frame::GROWN])?;
                    growth = None;
                }
            }
            // The transport has kept it for itself.
            #[cfg(target_os = "linux")]
            Record::Share { .. } | Record::Forget { .. } => {}
        }
        // A large argument's memory is not kept.
        body.clear();
        body.shrink_to(KEPT_BODY);
    }
    for known in tasks.known {
        crate::panic::contain(|| drop(known));
    }
    Ok(())
}

/// The outcome of the handshake.
struct Greeting {
    /// Whether tasks may come.
    is_ready: bool,
    transport: Transport,
    recycle_above: Option<u64>,
}

/// Handshake and initializer; the answer goes to `output`.
fn greet(parent: &mut SocketWorker, files: &mut Vec<OwnedFd>, output: &mut Vec<u8>) -> io::Result<Greeting> {
    let body = match parent.receive()? {
        Some((frame::HELLO, body)) => body,
        Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let hello: Hello = codec::decode(body).map_err(|error| io::Error::other(error.to_string()))?;
    step(parent.socket(), "map the program's shared memory", hello.files.open(files))?;
    #[cfg(target_os = "linux")]
    crate::shm::number_pieces_of(hello.number);
    let own = step(parent.socket(), "identify its program", Identity::of_this_program())?;
    let outcome = if own == hello.identity {
        get_ready(&hello, parent)?
    } else {
        let parents = &hello.identity;
        Err((frame::REFUSED, format!("the worker is another build ({own:?}) than its parent ({parents:?})")))
    };
    let (kind, text) = outcome.map_or_else(|refusal| refusal, |()| (frame::READY, String::new()));
    let start = frame::begin_frame(output, kind);
    output.extend_from_slice(frame::cut(&text).as_bytes());
    frame::end_frame(output, start).map_err(|Malformed| io::ErrorKind::InvalidData)?;
    let Hello { transport, recycle_above, .. } = hello;
    Ok(Greeting { is_ready: kind == frame::READY, transport, recycle_above })
}

/// Why a worker does not get ready: the kind of its answer to the program, and the text.
type Refusal = (u8, String);

/// Preload, memory limit and initializer. The outer error is one for a moment, and the end of this process.
fn get_ready(hello: &Hello, parent: &SocketWorker) -> io::Result<Result<(), Refusal>> {
    let run = |call: &Option<Call>| {
        let outcome = call.as_ref().map_or(Ok(()), initialize);
        outcome.map_err(|cause| (frame::INITIALIZER_FAILED, cause.to_string()))
    };
    let prepared = run(&hello.preload);
    if prepared.is_err() {
        return Ok(prepared);
    }
    if let Some(bytes) = hello.memory_limit {
        match limit_memory(bytes, parent) {
            Err(error) if !sys::is_for_a_moment(&error) => {
                return Ok(Err((frame::REFUSED, format!("failed to limit the worker's memory: {error}"))));
            }
            outcome => step(parent.socket(), "limit its memory", outcome)?,
        }
    }
    Ok(run(&hello.initializer))
}

#[cfg(target_os = "linux")]
fn limit_memory(bytes: u64, parent: &SocketWorker) -> io::Result<()> {
    sys::install_out_of_memory_handler(parent.socket().try_clone()?.into(), &frame::OUT_OF_MEMORY_FRAME)?;
    sys::set_data_limit(bytes)?;
    MEMORY_IS_LIMITED.store(true, Ordering::Relaxed);
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn limit_memory(_: u64, _: &SocketWorker) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Memory that an earlier task was refused, and did without, says nothing of how this one ends.
fn forget_refused_allocations() {
    #[cfg(target_os = "linux")]
    // ORDERING: set before any task runs.
    if MEMORY_IS_LIMITED.load(Ordering::Relaxed) {
        sys::forget_refused_allocations();
    }
}

/// Runs a preload or an initializer.
pub(super) fn initialize((function, bound, argument): &Call) -> Result<(), Cause> {
    let run = || -> Result<Result<(), Cause>, TaskError> {
        let entry = function.find()?;
        let task = (entry.restore)(bound);
        end_if_copy();
        let task = task?;
        let mut output = Output::new(&mut []);
        let outcome = (entry.run)(&*task, argument, &mut output);
        end_if_copy();
        outcome?;
        let output = output.into_overflow().err().unwrap_or_default();
        codec::decode(&output).map_err(|cause| TaskError::decode("result", cause))
    };
    run().unwrap_or_else(|error| Err(Cause::new(error)))
}

/// Every so many tasks that follow one another without a wait, one is timed: the clock costs as much as a small task.
const TIMED: u32 = 16;

/// The definition behind a number of the parent's.
#[derive(Default)]
enum Known {
    #[default]
    Nothing,
    /// No task has needed it yet. Decoding a configuration is the user's code, which may end this process, or never end: it is done
    /// on behalf of a task that this worker has claimed, so that only that task fails, and so that it counts for its time limit and
    /// is stopped with it.
    Encoded(FunctionId, Vec<u8>),
    Restored(&'static Entry, Box<dyn Any + Send>),
}

impl Known {
    /// The function with its configuration. One that cannot be decoded is tried again by the next task: there may have been
    /// no descriptor left for what it refers to.
    fn restore(&mut self) -> Result<(&'static Entry, &dyn Any), TaskError> {
        if let Self::Encoded(function, bound) = self {
            let entry = function.find()?;
            let task = (entry.restore)(bound);
            end_if_copy();
            *self = Self::Restored(entry, task?);
        }
        match self {
            Self::Restored(entry, task) => Ok((entry, &**task)),
            Self::Nothing | Self::Encoded(..) => Err(unknown()),
        }
    }

    /// Drops it where a configuration's destructor, which is the user's code as well, panics and takes its time at no other task's
    /// cost.
    fn dispose(self) {
        if let Self::Restored(_, task) = self {
            // Most have no configuration.
            if size_of_val(&*task) > 0 {
                drop_elsewhere(task);
            }
        }
    }
}

fn unknown() -> TaskError {
    TaskError::decode("task", "the worker was not told its function")
}

/// Functions, with their configurations, that this worker knows by the parent's numbers.
#[derive(Default)]
struct Tasks {
    known: Vec<Known>,
    since_timed: u32,
}

impl Tasks {
    fn define(&mut self, number: u32, function: FunctionId, bound: Vec<u8>) {
        let number = number as usize % DEFINITIONS;
        if self.known.len() <= number {
            self.known.resize_with(number + 1, Known::default);
        }
        // First of all: the new one may need its memory.
        std::mem::take(&mut self.known[number]).dispose();
        self.known[number] = Known::Encoded(function, bound);
    }

    /// Runs a task; says whether it was one of those that are timed.
    fn run(
        &mut self,
        parent: &impl WorkerEnd,
        definition: u32,
        number: u32,
        items: u32,
        bytes: &[u8],
        waited: bool,
    ) -> io::Result<bool> {
        self.since_timed += 1;
        let start = (waited || items > 0 || self.since_timed >= TIMED).then(Instant::now);
        if start.is_some() {
            self.since_timed = 0;
        }
        let elapsed = || match start {
            Some(start) => u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX).max(1),
            None => 0,
        };
        let task = self.known.get_mut(definition as usize).map_or_else(|| Err(unknown()), Known::restore);
        let _span = span::enter_task(task.as_ref().ok().map(|(entry, _)| entry.name));
        let mut output = parent.room()?;
        let header = |kind, items, elapsed| ReplyHeader { number, kind, items, elapsed };
        let outcome = match task {
            Ok((entry, task)) if items == 0 => {
                let outcome = (entry.run)(task, bytes, &mut output);
                end_if_copy();
                outcome
            }
            Ok((entry, task)) => {
                let mut done = 0;
                (entry.run_items)(task, Items(bytes), &mut output, &mut |output| {
                    end_if_copy();
                    done += 1;
                    if !output.is_large() {
                        return parent.progress(done, output.len());
                    }
                    // The results of finished items are on their way before the next item begins: should that one end this process,
                    // the parent knows which item it was, and has the others.
                    let full = std::mem::replace(output, Output::new(&mut []));
                    let sent = parent.send(full, header(ReplyKind::Part, done, 0)).and_then(|()| parent.room());
                    match sent {
                        Ok(room) => *output = room,
                        // The parent is gone, and the rest is of no use.
                        Err(_) => sys::exit_now(),
                    }
                    done = 0;
                });
                parent.send(output, header(ReplyKind::Done, done, elapsed()))?;
                return Ok(true);
            }
            Err(error) => Err(error),
        };
        let elapsed = elapsed();
        let sent = match outcome {
            Ok(()) if output.len() > MAX_ENCODED => {
                let error = results::too_long();
                output = parent.room()?;
                put_error(&mut output, &error);
                parent.send(output, header(ReplyKind::Failed, 0, elapsed))
            }
            Ok(()) => parent.send(output, header(ReplyKind::Done, 0, elapsed)),
            Err(error) => {
                output.truncate(0);
                put_error(&mut output, &error);
                parent.send(output, header(ReplyKind::Failed, 0, elapsed))
            }
        };
        sent.map(|()| start.is_some())
    }
}

#[cfg(target_os = "linux")]
fn own_size() -> io::Result<u64> {
    sys::proportional_set_size()
}

#[cfg(not(target_os = "linux"))]
fn own_size() -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Watches how large this process grows.
struct Growth {
    limit: u64,
    look_again: Instant,
}

impl Growth {
    fn new(limit: u64) -> Self {
        Self { limit, look_again: Instant::now() }
    }

    /// Measures, if it is time to: the kernel counts pages for that, and more than a hundredth of the time must not go into it.
    fn is_too_large(&mut self) -> bool {
        let start = Instant::now();
        if start < self.look_again {
            return false;
        }
        let size = own_size();
        self.look_again = start + 100 * start.elapsed();
        size.is_ok_and(|size| size > self.limit)
    }
}

fn put_error(output: &mut Output<'_>, error: &TaskError) {
    // Plain data that always encodes.
    let _ = codec::encode_into(error, output);
}
