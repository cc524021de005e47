//! Where the answers go: the memory of the future vector, each chunk at its place, whatever worker writes it and whenever.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{
    mem::{ManuallyDrop, needs_drop},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    error::TaskError,
    future::{current_pool, end_if_elsewhere},
    panic,
};

/// Locks a mutex whose data no panic leaves half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of large results is populated by the system a block at a time, a block ahead of where the workers write. Otherwise
/// all workers have page faults side by side, and wait for one another in the kernel.
#[cfg(target_os = "linux")]
const BLOCK: usize = 1 << 20;

/// Where the answers go.
pub(super) struct Output<R> {
    memory: Mutex<Memory<R>>,
    /// Which places are filled: the start and the length of each chunk.
    filled: Mutex<Vec<(usize, usize)>>,
    /// Answers beyond the capacity, by the place of the first of them.
    beyond: Mutex<Vec<(usize, Vec<R>)>>,
    /// The number of bytes, from the start, whose population a worker has taken on.
    #[cfg(target_os = "linux")]
    populated: AtomicUsize,
}

/// What a `Vec` is made of, without its length.
struct Memory<R> {
    start: *mut R,
    capacity: usize,
}

impl<R> Memory<R> {
    /// Allocates memory for so many answers, or none if there is not that much.
    fn with_capacity(capacity: usize) -> Self {
        let mut memory = Vec::<R>::new();
        let _ = memory.try_reserve_exact(capacity);
        let mut memory = ManuallyDrop::new(memory);
        Self { start: memory.as_mut_ptr(), capacity: memory.capacity() }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::with_capacity(0))
    }
}

// SAFETY: the memory is owned, and no place in it is written by two threads: each chunk has places of its own.
unsafe impl<R: Send> Send for Output<R> {}
// SAFETY: the memory is owned, and no place in it is written by two threads; it is not read before all writers are done.
unsafe impl<R: Send> Sync for Output<R> {}

impl<R> Output<R> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let memory = Mutex::new(Memory::with_capacity(capacity));
        Self {
            memory,
            filled: Mutex::default(),
            beyond: Mutex::default(),
            #[cfg(target_os = "linux")]
            populated: AtomicUsize::new(0),
        }
    }

    /// Writes the answers for all of `items` to their places, the first of which is `first`, until a call panics.
    pub(super) fn fill<A>(
        &self,
        first: usize,
        items: &mut Vec<A>,
        call: impl Fn(A) -> R,
    ) -> Result<(), (usize, TaskError)> {
        let Memory { start, capacity } = *lock(&self.memory);
        let count = items.len();
        let mut done = 0;
        let mut left = items.drain(..);
        let outcome = if first.checked_add(count).is_some_and(|end| end <= capacity) {
            #[cfg(target_os = "linux")]
            self.populate(start, capacity, first + count);
            // SAFETY: the places are within the memory.
            let place = unsafe { start.add(first) };
            let outcome = panic::catch(|| {
                left.by_ref().for_each(|item| {
                    let value = call(item);
                    // SAFETY: the place is within the memory, which has as many places as there are items.
                    let place = unsafe { place.add(done) };
                    // SAFETY: the place belongs to this chunk, and is empty.
                    unsafe { place.write(value) };
                    done += 1;
                });
            });
            // Checked before a lock that a thread may have held when a copy of the process was made.
            end_if_elsewhere(current_pool());
            lock(&self.filled).push((first, done));
            outcome
        } else {
            let mut values = Vec::with_capacity(count);
            let outcome = panic::catch(|| left.by_ref().for_each(|item| values.push(call(item))));
            done = values.len();
            end_if_elsewhere(current_pool());
            lock(&self.beyond).push((first, values));
            outcome
        };
        // Not while the panic of the call unwinds: a second one, of a destructor, would abort the program.
        left.for_each(|item| panic::contain(|| drop(item)));
        outcome.map_err(|error| (first + done, error))
    }

    /// Populates memory for so many answers and for those that will come next.
    #[cfg(target_os = "linux")]
    fn populate(&self, start: *mut R, capacity: usize, places: usize) {
        let bytes = capacity * size_of::<R>();
        if bytes < 4 * BLOCK {
            return;
        }
        let wanted = bytes.min(places * size_of::<R>() + BLOCK);
        // ORDERING: only shares out work; a worker that comes too early has page faults.
        let mut populated = self.populated.load(Ordering::Relaxed);
        while populated < wanted {
            let end = bytes.min(populated + BLOCK);
            match self.populated.compare_exchange_weak(populated, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // SAFETY: the block is within the memory.
                    let block = unsafe { start.cast::<u8>().add(populated) };
                    // SAFETY: the block is within the memory, which this output owns.
                    unsafe { crate::sys::populate(block, end - populated) };
                    populated = end;
                }
                Err(other) => populated = other,
            }
        }
    }

    /// Returns the answers, in order. Every item that was begun is done.
    pub(super) fn take(&self) -> Vec<R> {
        let filled = std::mem::take(&mut *lock(&self.filled));
        let length = filled.iter().map(|(_, length)| length).sum();
        let Memory { start, capacity } = lock(&self.memory).take();
        // SAFETY: the memory came from a vector of this capacity. Chunks are given out in order, and the first one that does not
        // fit is followed by others that do not, so the filled places are the first ones, without a gap.
        let mut values = unsafe { Vec::from_raw_parts(start, length, capacity) };
        let mut beyond = std::mem::take(&mut *lock(&self.beyond));
        beyond.sort_unstable_by_key(|(first, _)| *first);
        beyond.into_iter().for_each(|(_, more)| values.extend(more));
        values
    }
}

impl<R> Drop for Output<R> {
    fn drop(&mut self) {
        let Memory { start, capacity } = lock(&self.memory).take();
        if needs_drop::<R>() {
            for (first, length) in std::mem::take(&mut *lock(&self.filled)) {
                for place in first..first + length {
                    // SAFETY: the place is within the memory.
                    let place = unsafe { start.add(place) };
                    // SAFETY: the place is filled, and the answer was not taken.
                    panic::contain(|| unsafe { place.drop_in_place() });
                }
            }
        }
        // SAFETY: the memory came from a vector of this capacity, and is empty now.
        drop(unsafe { Vec::from_raw_parts(start, 0, capacity) });
    }
}
