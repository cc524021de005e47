//! Long contents on their way to workers: each is owned once, by all that still need it. What is done with one under the pool's
//! lock takes as long as with a short one: it is neither copied nor freed there.

use std::sync::Arc;

#[cfg(target_os = "linux")]
use super::request::Large;
use crate::task::Bound;

/// Contents that are longer are owned once; those up to this are copied where that is simpler.
pub(super) const LONGEST_COPY: usize = 64 * 1024;

/// What follows the rest of a record's content, and is not copied until the system takes it.
#[derive(Debug, Clone)]
pub(super) enum Long {
    /// An encoded argument, or a chunk of them.
    Argument(LongBytes),
    /// A configuration.
    Bound(Arc<Bound>),
    /// An argument that is nothing but bytes, and was not encoded.
    #[cfg(target_os = "linux")]
    Large(Arc<Large>),
}

impl Long {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Argument(bytes) => bytes.as_slice(),
            Self::Bound(bound) => &bound.bytes,
            #[cfg(target_os = "linux")]
            Self::Large(large) => large.as_slice(),
        }
    }
}

/// Encoded bytes that several may own.
#[derive(Debug, Clone)]
pub(super) struct LongBytes {
    all: Arc<Vec<u8>>,
    /// What is before this is not needed any more.
    start: usize,
}

impl LongBytes {
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.all[self.start..]
    }

    /// Leaves the first ones out.
    pub(super) fn skip(&mut self, count: usize) {
        self.start = self.all.len().min(self.start + count);
    }
}

impl From<Vec<u8>> for LongBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self { all: Arc::new(bytes), start: 0 }
    }
}
