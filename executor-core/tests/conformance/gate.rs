//! A gate that tasks wait at, on any executor: they announce themselves, and go on when the test lets them.
//!
//! It is a socket in the file system, because that is what a task in another process can find. A task has arrived when it
//! has connected; it goes on when the test drops the other end. Nothing is polled.
//!
//! A test declares its pool before its gate, so that a failing test opens the gate before it waits for the pool's end.

use std::{
    collections::VecDeque,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use tempfile::TempDir;

use crate::{
    kinds::LONG,
    tasks::{Identity, identity},
};

/// Where the gate is, as a task's argument.
pub(crate) type Key = String;

/// The process id with which [`Gate::visitors`] announces itself: that of no process.
const NO_PROCESS: u32 = 0;

pub(crate) struct Gate {
    path: PathBuf,
    _folder: TempDir,
    shared: Arc<Shared>,
    porter: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    closed_for_good: bool,
    /// Process ids of all that have arrived.
    visitors: Vec<u32>,
    held: VecDeque<UnixStream>,
    /// How often the porter has met [`NO_PROCESS`].
    looked: usize,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gate");
        let listener = UnixListener::bind(&path).unwrap();
        let shared = Arc::<Shared>::default();
        let inside = Arc::clone(&shared);
        let porter = std::thread::spawn(move || inside.attend(&listener));
        Self { path, _folder: folder, shared, porter: Some(porter) }
    }

    /// One that holds no task, and only counts.
    pub(crate) fn opened() -> Self {
        let gate = Self::new();
        gate.open();
        gate
    }

    pub(crate) fn key(&self) -> Key {
        self.path.to_str().unwrap().to_owned()
    }

    /// Waits until `count` tasks have arrived since the beginning; returns the process ids of all that have.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<u32> {
        self.wait_until(|state| state.visitors.len() >= count).visitors.clone()
    }

    /// The process ids of all that have arrived before this call.
    pub(crate) fn visitors(&self) -> Vec<u32> {
        let looked = self.shared.lock().looked;
        // The porter meets visitors in the order in which they came.
        announce(&self.path, NO_PROCESS).unwrap();
        self.wait_until(|state| state.looked > looked).visitors.clone()
    }

    /// Lets the first `count` of the waiting tasks go on.
    pub(crate) fn release(&self, count: usize) {
        let mut state = self.shared.lock();
        assert!(state.held.len() >= count, "{count} should wait at the gate");
        state.held.drain(..count);
    }

    /// Lets all tasks go on, also those that come later.
    pub(crate) fn open(&self) {
        let mut state = self.shared.lock();
        state.open = true;
        state.held.clear();
    }

    /// Waits until `count` that [`stay`] have arrived, and until their processes have ended.
    pub(crate) fn wait_until_they_end(&self, count: usize) {
        self.wait_for(count);
        let held = std::mem::take(&mut self.shared.lock().held);
        for mut visitor in held {
            visitor.set_read_timeout(Some(LONG)).unwrap();
            assert_eq!(visitor.read(&mut [0]).unwrap(), 0, "the end of its stream is the end of its process");
        }
    }

    fn wait_until(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.shared.lock();
        let (state, waited) = self.shared.changed.wait_timeout_while(state, LONG, |state| !condition(state)).unwrap();
        assert!(!waited.timed_out(), "only {} have arrived at the gate", state.visitors.len());
        state
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
        self.shared.lock().closed_for_good = true;
        let woken = announce(&self.path, NO_PROCESS);
        if let (Ok(_), Some(porter)) = (woken, self.porter.take()) {
            // A porter that panicked has failed the test already.
            let _ = porter.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that fails while it holds the lock must still open its gate.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attend(&self, listener: &UnixListener) {
        for visitor in listener.incoming() {
            let mut visitor = visitor.unwrap();
            let mut pid = [0; 4];
            // One that was killed on its way has not arrived.
            if visitor.read_exact(&mut pid).is_err() {
                continue;
            }
            let pid = u32::from_le_bytes(pid);
            let mut state = self.lock();
            if state.closed_for_good {
                return;
            }
            if pid == NO_PROCESS {
                state.looked += 1;
            } else {
                state.visitors.push(pid);
                if !state.open {
                    state.held.push_back(visitor);
                }
            }
            drop(state);
            self.changed.notify_all();
        }
    }
}

fn announce(path: impl AsRef<std::path::Path>, pid: u32) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(&pid.to_le_bytes())?;
    Ok(stream)
}

/// A task that arrives at the gate, and returns the identity of its worker when it may go on.
pub(crate) fn pass(gate: Key) -> Identity {
    // A gate that is gone is open: its test has ended.
    if let Ok(mut stream) = announce(gate, std::process::id()) {
        // The end of the stream is what it waits for.
        let _ = stream.read(&mut [0]);
    }
    identity()
}

/// A task that arrives at the gate and goes on at once, but is there until its process ends.
pub(crate) fn stay(gate: Key) -> Identity {
    // Never dropped; the system closes it.
    std::mem::forget(announce(gate, std::process::id()));
    identity()
}
