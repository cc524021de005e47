//! How long encoded values may be.

/// The longest value that crosses a process border.
pub(crate) const MAX_ENCODED: usize = 512 << 20;
