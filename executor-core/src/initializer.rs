//! What the initializer of a worker may return, in every kind of pool.

use std::fmt;

use crate::error::Cause;

/// What an initializer may return: nothing, or a `Result` whose error breaks the pool.
pub trait InitializerResult {
    /// The error's text, if there is one.
    #[doc(hidden)]
    fn into_cause(self) -> Result<(), Cause>;
}

impl InitializerResult for () {
    fn into_cause(self) -> Result<(), Cause> {
        Ok(())
    }
}

impl<E: fmt::Display> InitializerResult for Result<(), E> {
    fn into_cause(self) -> Result<(), Cause> {
        self.map_err(Cause::new)
    }
}
