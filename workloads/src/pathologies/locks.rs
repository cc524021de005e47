//! Locks, cache lines and writers that all threads of a process share, and worker processes have each for themselves.

use std::{
    cell::RefCell,
    fs::File,
    hint::black_box,
    io::{self, LineWriter, Write},
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::kernels::{Spin, spin};

/// Computes, and holds one lock for one part of `parts`.
pub(super) fn locked(iterations: u64, parts: u64, shares: bool, index: u32) -> u64 {
    static LOCK: Mutex<()> = Mutex::new(());
    let within = iterations / parts;
    let guard = shares.then(|| LOCK.lock().unwrap_or_else(PoisonError::into_inner));
    let seed = spin(Spin { iterations: within, seed: index.into() });
    drop(guard);
    spin(Spin { iterations: iterations - within, seed })
}

/// A counter that has its cache lines alone: CPUs fetch them in pairs.
#[repr(align(128))]
struct Padded(AtomicU64);

/// The most threads that have a counter of their own.
const COUNTERS: usize = 8;

/// Counts in the thread's own counter, which is in one line with the others or has two for itself.
pub(super) fn count(rounds: u32, shares: bool) -> u64 {
    static PACKED: [AtomicU64; COUNTERS] = [const { AtomicU64::new(0) }; COUNTERS];
    static PADDED: [Padded; COUNTERS] = [const { Padded(AtomicU64::new(0)) }; COUNTERS];
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // ORDERING: a number for each thread publishes nothing.
        static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed) % COUNTERS;
    }
    let own = OWN.with(|own| *own);
    let counter = if shares { &PACKED[own] } else { &PADDED[own].0 };
    for _ in 0..rounds * 3_000 {
        // ORDERING: it is the cache line that is measured; no thread reads the count.
        counter.fetch_add(1, Ordering::Relaxed);
    }
    rounds.into()
}

/// Takes and drops references to one value of the process, or of the thread.
pub(super) fn clone_references(rounds: u32, shares: bool) -> u64 {
    static SHARED: LazyLock<Arc<u64>> = LazyLock::new(|| Arc::new(1));
    thread_local! {
        static OWN: Arc<u64> = Arc::new(1);
    }
    let value = if shares { Arc::clone(&SHARED) } else { OWN.with(Arc::clone) };
    (0..rounds * 1_500).map(|_| *Arc::clone(black_box(&value))).sum()
}

type Lines = LineWriter<Box<dyn Write + Send>>;

/// A writer like that of standard output, which is flushed with each line, into nothing.
fn lines() -> Lines {
    let file = File::options().write(true).open("/dev/null");
    LineWriter::new(file.map_or_else(|_| Box::new(io::sink()) as Box<dyn Write + Send>, |file| Box::new(file)))
}

/// Writes lines through one writer with a lock, as `println` does, or through one of the thread's own.
pub(super) fn print_lines(rounds: u32, shares: bool) -> u64 {
    static SHARED: LazyLock<Mutex<Lines>> = LazyLock::new(|| Mutex::new(lines()));
    thread_local! {
        static OWN: RefCell<Lines> = RefCell::new(lines());
    }
    let count = rounds * 40;
    for line in 0..count {
        // Nothing reads what is written, and writing it cannot fail.
        let _ = if shares {
            writeln!(SHARED.lock().unwrap_or_else(PoisonError::into_inner), "line {line} of {count}")
        } else {
            OWN.with_borrow_mut(|own| writeln!(own, "line {line} of {count}"))
        };
    }
    count.into()
}
