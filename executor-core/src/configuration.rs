//! The configuration of a task on its way to workers.

use crate::pins::Pins;

/// A configuration in its encoded form, and its number.
#[doc(hidden)]
#[derive(Debug)]
pub struct Bound {
    pub(crate) id: u64,
    pub(crate) bytes: Vec<u8>,
    /// Kept alive for the workers that read the bytes.
    pub(crate) _pins: Pins,
}
