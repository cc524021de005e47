//! Large values in shared memory: which process holds which segment, and when it may be used again. See README.md.
//!
//! [`life`] says when a segment may be used again, [`store`] has the segments that this program made, [`lease`] is a worker's right
//! to use one, [`borrowed`] is the worker's side, [`block`] what [`SharedBytes`](crate::SharedBytes) holds on either side, and
//! [`flags`] are cancel flags.

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
pub(crate) mod limits;
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
/// Whether this process has made or received anything in shared memory; see [`IN_USE`].
pub(crate) fn is_in_use() -> bool {
    // ORDERING: a thread that has something to encode has got it from the thread that set this, or is that thread.
    IN_USE.load(Ordering::Relaxed)
}

#[cfg(target_os = "linux")]
fn note_use() {
    // ORDERING: what is in shared memory gets to another thread only by a step that publishes this as well.
    IN_USE.store(true, Ordering::Relaxed);
}

#[cfg(target_os = "linux")]
/// Shorter bytes are copied: a reference would cost more than the copy.
pub(crate) const SHARED_FROM: usize = 64 * 1024;

#[cfg(target_os = "linux")]
/// Segments that one request can refer to. Further values are copied into the request.
pub(crate) const MOST_BLOCKS: usize = 256;
