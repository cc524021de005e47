//! Words for people, on standard error.
//!
//! Nobody may be there to read them: a closed pipe or a full disk must cost the words and not the run, so none of them is
//! written by `eprintln!`, which panics then (clippy's `print_stderr` keeps it out).

use std::{
    fmt,
    io::{self, Write},
};

/// One line to standard error, or nothing where it cannot be written. What must not be lost is in the exit code and in the
/// output besides.
pub(crate) fn line(words: fmt::Arguments<'_>) {
    // As one write, so that the lines of several threads do not mix.
    let _ = io::stderr().lock().write_all(format!("{words}\n").as_bytes());
}

/// As `eprintln!`, without its panic.
macro_rules! tell {
    ($($words:tt)*) => { $crate::tell::line(format_args!($($words)*)) };
}
pub(crate) use tell;
