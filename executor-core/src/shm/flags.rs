//! Cancel flags that worker processes can see: a table of words in shared memory that only the parent can write.
//!
//! A word holds a generation and, in its lowest bit, whether the flag is raised. A slot is used again only when no token and
//! no task under way refers to it (the tasks pin it), and its generation rises then, so a copy that a worker kept longer
//! than its task sees a flag that is never raised.

use std::{
    any::Any,
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use crate::sys::{self, PerProcess, SharedWords};

/// Tokens that can be known to worker processes at the same time: 512 KiB of address space.
const SLOTS: usize = 1 << 16;

/// The table that the parent has made. There is none as long as it could not be made: the next call that needs it tries again.
///
/// A forked copy of the parent makes another one: this one is read by the parent's workers.
static TABLE: PerProcess<OnceLock<SharedWords>> = PerProcess::new(OnceLock::new);

/// The table that a worker was given. It is only read, so the copies that a task makes of the worker read it as well.
static GIVEN: OnceLock<SharedWords> = OnceLock::new();

static SLOTS_IN_USE: PerProcess<Mutex<Slots>> = PerProcess::new(Mutex::default);

#[derive(Default)]
struct Slots {
    free: Vec<u32>,
    /// Of each slot that was ever used, what its flag belongs to, while it has one.
    owners: Vec<Option<Weak<Owner>>>,
}

/// What a flag belongs to.
type Owner = dyn Any + Send + Sync;

fn table() -> Result<&'static SharedWords, String> {
    if crate::role::in_worker() {
        return GIVEN.get().ok_or_else(|| "this worker process has no shared memory for cancel tokens".to_owned());
    }
    make_table().map_err(|error| format!("no shared memory for cancel tokens: {error}"))
}

fn make_table() -> io::Result<&'static SharedWords> {
    let place = TABLE.get();
    match place.get() {
        Some(table) => Ok(table),
        None => {
            // Where several threads make one, one of them is kept.
            let _ = place.set(SharedWords::create(SLOTS)?);
            place.get().ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }
}

/// The table's file, for a new worker. It can do without where there is no shared memory: then tasks that have a token fail.
pub(crate) fn table_file() -> io::Result<BorrowedFd<'static>> {
    make_table().map(SharedWords::file)
}

/// In a worker: uses the parent's table. One that was forked has it already.
pub(crate) fn open_table(file: OwnedFd) -> io::Result<()> {
    if let Some(table) = GIVEN.get()
        && sys::is_same_file(table.file(), file.as_fd())?
    {
        return Ok(());
    }
    let words = SharedWords::open(file, SLOTS)?;
    let is_used = TABLE.get().get().is_some() || GIVEN.set(words).is_err();
    if is_used { Err(io::Error::other("cancel tokens were used before executor_core::init()")) } else { Ok(()) }
}

fn slots() -> std::sync::MutexGuard<'static, Slots> {
    SLOTS_IN_USE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// A flag that this process owns. Dropping it frees its slot.
pub(crate) struct Flag {
    word: &'static AtomicU64,
    remote: RemoteFlag,
    /// The process to which it is known.
    process: u64,
}

impl Flag {
    pub(crate) fn new(owner: Weak<Owner>) -> Result<Self, String> {
        if crate::role::in_worker() {
            return Err("a cancel token made in a worker process cannot be sent to another process".to_owned());
        }
        let table = table()?;
        let slot = {
            let mut slots = slots();
            let slot = match slots.free.pop() {
                Some(slot) => slot,
                None if slots.owners.len() < SLOTS => {
                    slots.owners.push(None);
                    // Fits: it is less than SLOTS.
                    slots.owners.len() as u32 - 1
                }
                None => return Err(format!("more than {SLOTS} cancel tokens are known to processes")),
            };
            slots.owners[slot as usize] = Some(owner);
            slot
        };
        let word = table.get(slot as usize).ok_or("the table of cancel tokens is too short")?;
        // ORDERING: the slot is this flag's alone; another process learns of it only through a message sent later.
        let generation = word.load(Ordering::Relaxed) >> 1;
        Ok(Self { word, remote: RemoteFlag { slot, generation }, process: sys::generation() })
    }

    /// Whether this process is a forked copy of the one to which the flag is known. Then it is not this one's to raise, nor to
    /// free.
    fn is_elsewhere(&self) -> bool {
        self.process != sys::generation()
    }

    pub(crate) fn raise(&self) {
        if self.is_elsewhere() {
            return;
        }
        // ORDERING: Release pairs with the Acquire of `is_raised`: a task that sees the flag sees what came before it.
        self.word.store(self.remote.generation << 1 | 1, Ordering::Release);
    }

    pub(crate) fn remote(&self) -> RemoteFlag {
        self.remote
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            return;
        }
        // ORDERING: a later flag in this slot is told of by a later message.
        self.word.store((self.remote.generation + 1) << 1, Ordering::Relaxed);
        let mut slots = slots();
        slots.owners[self.remote.slot as usize] = None;
        slots.free.push(self.remote.slot);
    }
}

impl fmt::Debug for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flag").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// A flag as it travels.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct RemoteFlag {
    slot: u32,
    generation: u64,
}

impl RemoteFlag {
    /// Whether the table that this process sees has such a flag.
    pub(crate) fn check(self) -> Result<(), String> {
        table()?.get(self.slot as usize).map(drop).ok_or_else(|| "no such cancel token".to_owned())
    }

    /// In the program: what the flag belongs to, if that is still there.
    pub(crate) fn owner(self) -> Option<Arc<Owner>> {
        let word = table().ok()?.get(self.slot as usize)?;
        let slots = slots();
        let owner = slots.owners.get(self.slot as usize)?.as_ref()?;
        // ORDERING: under the lock. The last step of a flag is to give its slot away under it, with another generation.
        if word.load(Ordering::Relaxed) >> 1 == self.generation { owner.upgrade() } else { None }
    }

    pub(crate) fn is_raised(self) -> bool {
        let word = table().ok().and_then(|table| table.get(self.slot as usize));
        // ORDERING: Acquire pairs with the Release of `raise`.
        word.is_some_and(|word| word.load(Ordering::Acquire) == self.generation << 1 | 1)
    }
}
