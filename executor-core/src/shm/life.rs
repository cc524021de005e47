//! The life of a segment of shared memory: its states, which processes may read it, and the one rule that says when it may be
//! written to again.
//!
//! Everything else around segments only counts: holders here, and holders in workers. A segment has a holder as long as one of
//! these is true:
//!
//! 1. a `SharedBytes` of this program holds it, or a request, answered or not, that is anywhere in this program;
//! 2. some worker may still decode a configuration that refers to it: it knows that one, or has not passed the place where
//!    another one took its number (`process/parent/definitions.rs`);
//! 3. a worker that lives has a holder of it, which it counts before it answers the request that brought the reference.
//!
//! The first two are holders in this process ([`Readers::here`]), the third is what [`Readers::there`] says.
//! `process/parent/workers/leases_model.rs` drives all parties at random.

/// Where in its life a segment is. Changes only under the store's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Preallocated: it has had no holder yet, and it has no pages.
    Preallocated,
    /// Its one holder is writing to it. No other code may get at it: no reference to it exists, and a worker that names it has
    /// violated the protocol.
    Fresh,
    /// It has a holder here, and never changes.
    Held,
    /// It has no holder here, but some worker has one.
    Withdrawn,
    /// It has no holder; it can be written to.
    Idle,
}

/// Which processes may read a segment at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readers {
    /// Holders in this process.
    pub(super) here: usize,
    /// Whether a worker that lives counts holders of it.
    pub(super) there: bool,
}

/// The next state of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays what it was.
    Stays,
    /// Some worker will say when it does not hold it any more.
    Waits,
    /// No process can read it any more: it may be written to, or freed.
    Free,
}

impl State {
    /// THE rule: what becomes of a segment whose readers are these. Nothing else lets a segment be written to.
    pub(super) fn fate(self, readers: Readers) -> Fate {
        match self {
            // A segment of which no process was told has no readers.
            Self::Preallocated | Self::Idle => Fate::Stays,
            Self::Fresh | Self::Held | Self::Withdrawn if readers.here > 0 => Fate::Stays,
            Self::Fresh | Self::Held | Self::Withdrawn if readers.there => Fate::Waits,
            Self::Fresh | Self::Held | Self::Withdrawn => Fate::Free,
        }
    }

    /// Whether a holder may begin to write to it.
    pub(super) fn may_be_written(self) -> bool {
        matches!(self, Self::Preallocated | Self::Idle)
    }

    /// Whether a worker may be given its file. No worker may see what is being written to.
    pub(super) fn may_be_leased(self) -> bool {
        self != Self::Fresh
    }

    /// Whether a worker that holds it may return it. It holds nothing of what is being written to, or was never told of.
    pub(super) fn may_be_returned(self) -> bool {
        matches!(self, Self::Held | Self::Withdrawn)
    }
}
