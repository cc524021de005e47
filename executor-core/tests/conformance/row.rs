//! What a row of the table is.

use crate::kinds::{Own, Processes, Rayon, Serial, Threads};

/// The tests of one class of one of CPython's test files.
pub(crate) struct Class {
    pub(crate) file: &'static str,
    pub(crate) class: &'static str,
    pub(crate) rows: &'static [Row],
}

/// One test of CPython.
pub(crate) struct Row {
    pub(crate) test: &'static str,
    /// What it asks, in the sense that it has here.
    pub(crate) meaning: &'static str,
    pub(crate) runs: &'static [Run],
    /// Why it does not apply.
    pub(crate) reason: Option<&'static str>,
}

/// A test on one executor, or on none: futures alone.
pub(crate) enum Run {
    Thread(fn(Threads)),
    /// Runs on each of [`PROCESS_VARIANTS`](crate::kinds::PROCESS_VARIANTS).
    Process(fn(Processes)),
    Rayon(fn(Rayon)),
    Serial(fn(Serial)),
    Own(fn(Own)),
    Future(fn()),
}

impl Run {
    pub(crate) fn executor(&self) -> &'static str {
        match self {
            Self::Thread(_) => "thread",
            Self::Process(_) => "process",
            Self::Rayon(_) => "rayon",
            Self::Serial(_) => "serial",
            Self::Own(_) => "own",
            Self::Future(_) => "future",
        }
    }
}

/// A row that does not apply.
pub(crate) const fn excluded(test: &'static str, meaning: &'static str, reason: &'static str) -> Row {
    Row { test, meaning, runs: &[], reason: Some(reason) }
}

/// A row whose test is there: `covered! { module::test: executors => "meaning" }`.
macro_rules! covered {
    ($module:ident::$test:ident: $($executor:ident)+ => $meaning:literal) => {
        $crate::row::Row {
            test: stringify!($test),
            meaning: $meaning,
            runs: &[$(covered!(@ $executor $crate::$module::$test)),+],
            reason: None,
        }
    };
    (@ thread $test:path) => { $crate::row::Run::Thread($test) };
    (@ process $test:path) => { $crate::row::Run::Process($test) };
    (@ rayon $test:path) => { $crate::row::Run::Rayon($test) };
    (@ serial $test:path) => { $crate::row::Run::Serial($test) };
    (@ own $test:path) => { $crate::row::Run::Own($test) };
    (@ future $test:path) => { $crate::row::Run::Future($test) };
}

pub(crate) use covered;
