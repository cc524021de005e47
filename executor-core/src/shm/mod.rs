//! Large values in shared memory: who holds which segment, and when it may be used again. See README.md.
//!
//! [`life`] says when a segment may be used again, [`store`] has the segments that this program made, [`lease`] is what a worker
//! was given of one, [`borrowed`] is the worker's side, [`block`] what [`SharedBytes`](crate::SharedBytes) holds on either side,
//! and [`flags`] are cancel flags.

#[cfg(target_os = "linux")]
mod block;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "reads what the parent does not write")]
pub(crate) mod borrowed;
#[cfg(target_os = "linux")]
#[cfg_attr(all(test, loom), expect(unsafe_code, reason = "loom's cells"))]
pub(crate) mod counts;
pub(crate) mod flags;
#[cfg(target_os = "linux")]
pub(crate) mod lease;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod segment;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "writes to memory that workers read later")]
pub(crate) mod store;

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(target_os = "linux")]
pub(crate) use block::{Attached, Block, Made, NO_DESCRIPTOR, Reference, copy, make, with_attached};
#[cfg(target_os = "linux")]
pub(crate) use borrowed::{accept, forget, number_pieces_of, open_counts, wake_on_release};
#[cfg(target_os = "linux")]
pub(crate) use lease::Share;
#[cfg(target_os = "linux")]
pub(crate) use segment::{Segment, Use};
#[cfg(target_os = "linux")]
pub(crate) use store::{preallocated, sweep};

#[cfg(target_os = "linux")]
/// Whether this process has made or received anything in shared memory: until then, nothing that it encodes refers to some.
static IN_USE: AtomicBool = AtomicBool::new(false);

#[cfg(target_os = "linux")]
/// As [`IN_USE`] says.
pub(crate) fn is_in_use() -> bool {
    // ORDERING: who has something to encode has got it from the thread that set this, or is that thread.
    IN_USE.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
fn note_use() {
    // ORDERING: as above.
    IN_USE.store(true, Ordering::Relaxed);
}

#[cfg(target_os = "linux")]
/// Shorter bytes are copied: a reference is not worth its while.
pub(crate) const SHARED_FROM: usize = 64 * 1024;

#[cfg(target_os = "linux")]
/// Pieces of shared memory that one request can refer to. What goes beyond travels as it is.
pub(crate) const MOST_BLOCKS: usize = 256;
