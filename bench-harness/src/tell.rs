//! Messages for people, on standard error.
//!
//! A closed pipe or a full disk must lose the message and not the run. `eprintln!` panics there, so no message is written by
//! it (clippy's `print_stderr` keeps it out).

use std::{
    fmt,
    io::{self, Write},
};

/// Writes one line to standard error, or nothing where that is not possible. What must not be lost is also in the exit code
/// and in the output.
pub(crate) fn line(words: fmt::Arguments<'_>) {
    // In one write, so that the lines of several threads do not mix.
    let _ = io::stderr().lock().write_all(format!("{words}\n").as_bytes());
}

/// Works like `eprintln!`, without its panic.
macro_rules! tell {
    ($($words:tt)*) => { $crate::tell::line(format_args!($($words)*)) };
}
pub(crate) use tell;
