//! The configuration of a task on its way to workers.

use crate::pins::Pins;

/// A configuration in its encoded form, and its number.
#[doc(hidden)]
#[derive(Debug)]
pub struct Bound {
    pub(crate) id: u64,
    pub(crate) bytes: Vec<u8>,
    /// Keeps alive what the bytes refer to, for the workers that read them.
    pub(crate) _pins: Pins,
}
