//! Large values in shared memory: who holds which piece, and when it may be used again. See README.md.
//!
//! [`life`] says when a piece may be used again, [`store`] has the pieces that this program made, [`loans`] what each worker was given of them, [`borrowed`] is the worker's
//! side, and [`block`] what [`SharedBytes`](crate::SharedBytes) holds on either side.

mod block;
#[expect(unsafe_code, reason = "reads what the parent does not write")]
mod borrowed;
#[cfg_attr(all(test, loom), expect(unsafe_code, reason = "loom's cells"))]
mod counts;
mod life;
mod loan;
mod loans;
#[expect(unsafe_code, reason = "writes to memory that workers read later")]
mod store;

#[cfg(all(test, not(loom)))]
#[expect(clippy::unwrap_used, reason = "a test")]
mod model_tests;

use std::sync::atomic::{AtomicBool, Ordering};

pub(in crate::process) use block::NO_DESCRIPTOR;
pub(crate) use block::{Attached, Block, Made, Reference, copy, make, with_attached};
pub(in crate::process) use borrowed::{accept, forget, number_pieces_of, open_counts};
pub(in crate::process) use loan::Share;
pub(in crate::process) use loans::Loans;
pub(crate) use store::Use;
pub(in crate::process) use store::{Segment, blanks, sweep};

/// Whether this process has made or received anything in shared memory: until then, nothing that it encodes refers to some.
static IN_USE: AtomicBool = AtomicBool::new(false);

/// As [`IN_USE`] says.
pub(crate) fn is_in_use() -> bool {
    // ORDERING: who has something to encode has got it from the thread that set this, or is that thread.
    IN_USE.load(Ordering::Relaxed)
}

fn note_use() {
    // ORDERING: as above.
    IN_USE.store(true, Ordering::Relaxed);
}

/// Shorter bytes are copied: a reference is not worth its while.
pub(crate) const SHARED_FROM: usize = 64 * 1024;

/// Pieces of shared memory that one request can refer to. What goes beyond travels as it is.
pub(crate) const MOST_BLOCKS: usize = 256;
