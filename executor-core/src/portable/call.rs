//! An initializer or a preload on its way to a process that has just started.

use super::function_id::FunctionId;

/// A function with its configuration and argument, in encoded form.
pub(crate) type Call = (FunctionId, Vec<u8>, Vec<u8>);
