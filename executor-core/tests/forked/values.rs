//! Values that fork where they are read or written.

use std::{
    io::Write,
    sync::atomic::{AtomicI32, Ordering},
};

use executor_core::{Executor, TaskError, partial};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeTuple};

use crate::{
    end_of, fork,
    pool_kinds::{Kind, on_every_kind_of_pool},
};

on_every_kind_of_pool!(
    a_copy_writes_nothing_into_the_answer,
    a_copy_that_is_made_where_a_value_is_read_ends_there,
    a_copy_that_is_made_where_a_result_is_written_cannot_write_it,
);

/// What `fork` has said, which is something else in the copy. The copy is gone before the second half is written.
#[derive(Debug, PartialEq, Deserialize)]
struct Said(bool, bool);

struct Says(i32);

impl Serialize for Says {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_copy = self.0 == 0;
        let mut both = serializer.serialize_tuple(2)?;
        both.serialize_element(&is_copy)?;
        if !is_copy {
            // SAFETY: the status of a child is of no interest.
            unsafe { libc::waitpid(self.0, std::ptr::null_mut(), 0) };
        }
        both.serialize_element(&is_copy)?;
        both.end()
    }
}

/// A value that travels as [`Says`] and arrives as [`Said`].
#[derive(Deserialize)]
#[serde(from = "Said")]
struct Both(Result<Says, Said>);

impl From<Said> for Both {
    fn from(said: Said) -> Self {
        Self(Err(said))
    }
}

impl Serialize for Both {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Ok(says) => says.serialize(serializer),
            Err(_) => Err(serde::ser::Error::custom("it has arrived")),
        }
    }
}

fn fork_and_say(panics: bool) -> Both {
    // SAFETY: the copy does nothing but return.
    let pid = unsafe { libc::fork() };
    assert!(pid > 0 || !panics, "the copy panics");
    Both(Ok(Says(pid)))
}

/// The copy has the memory in which the answer is written.
fn a_copy_writes_nothing_into_the_answer(kind: Kind) {
    let pool = kind.builder().max_workers(1).build().unwrap();
    let said = |both: Result<Both, TaskError>| both.unwrap().0.err();
    for panics in [false, true] {
        assert_eq!(said(pool.submit(fork_and_say, panics).unwrap().result()), Some(Said(false, false)));
    }
    for both in pool.map(fork_and_say, [false, true, false, true]).chunk_size(4) {
        assert_eq!(said(both), Some(Said(false, false)));
    }
    assert_eq!(pool.stats().died, 0);
}

/// Forks where it is read by a worker, and then, in the copy, ends as `reads` says. The worker goes on when the copy is gone.
#[derive(Serialize)]
struct ForksWhenRead {
    log: String,
    reads: bool,
}

impl<'de> Deserialize<'de> for ForksWhenRead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (log, reads): (String, bool) = Deserialize::deserialize(deserializer)?;
        if executor_core::in_worker() {
            let copy = fork();
            if copy == 0 && !reads {
                return Err(serde::de::Error::custom("the copy cannot read it"));
            }
            if copy > 0 && end_of(copy) != Ok(0) {
                return Err(serde::de::Error::custom("the copy was not ended"));
            }
        }
        Ok(Self { log, reads })
    }
}

fn note(forks: ForksWhenRead) {
    std::fs::OpenOptions::new().append(true).create(true).open(forks.log).unwrap().write_all(b"x").unwrap();
}

fn note_here((): (), forks: &ForksWhenRead) {
    note(ForksWhenRead { log: forks.log.clone(), reads: forks.reads });
}

/// A value's `Deserialize` is the user's code as well: what it forks does not run the task, and answers nothing.
fn a_copy_that_is_made_where_a_value_is_read_ends_there(kind: Kind) {
    for reads in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let forks = || ForksWhenRead { log: log.to_str().unwrap().to_owned(), reads };
        let pool = kind.builder().max_workers(1).initializer(note, forks()).build().unwrap();
        assert_eq!(pool.submit(note, forks()).unwrap().result(), Ok(()));
        assert_eq!(pool.map(note, [forks(), forks()]).chunk_size(2).into_vec(), Ok(vec![(); 2]));
        assert_eq!(pool.submit(partial(note_here, forks()), ()).unwrap().result(), Ok(()));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "xxxxx", "{reads}");
        let pool = kind.builder().max_workers(1).initializer(partial(note_here, forks()), ()).build().unwrap();
        assert_eq!(pool.warm_up(), Ok(()));
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "xxxxxx", "{reads}");
        assert_eq!(pool.stats().died, 0);
    }
}

static COPY: AtomicI32 = AtomicI32::new(0);

/// Forks where it is written, between two halves. The copy waits until there is a file, and writes something else.
#[derive(Deserialize)]
#[serde(from = "Said")]
struct ForksWhenWritten(Result<String, Said>);

impl From<Said> for ForksWhenWritten {
    fn from(said: Said) -> Self {
        Self(Err(said))
    }
}

impl Serialize for ForksWhenWritten {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut both = serializer.serialize_tuple(2)?;
        both.serialize_element(&false)?;
        let mut is_copy = false;
        if let Ok(file) = &self.0 {
            let copy = fork();
            COPY.store(copy, Ordering::Relaxed);
            is_copy = copy == 0;
            while is_copy && !std::path::Path::new(file).exists() {
                std::thread::yield_now();
            }
        }
        both.serialize_element(&is_copy)?;
        both.end()
    }
}

fn write_twice((number, file): (u32, String)) -> ForksWhenWritten {
    if number == 0 {
        return ForksWhenWritten(Ok(file));
    }
    // What was written first is still where it was written.
    std::fs::write(file, "").unwrap();
    let _ = end_of(COPY.load(Ordering::Relaxed));
    ForksWhenWritten(Err(Said(false, false)))
}

/// A result's `Serialize` has not returned when the copy goes on.
fn a_copy_that_is_made_where_a_result_is_written_cannot_write_it(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go_on").to_str().unwrap().to_owned();
    let pool = kind.builder().max_workers(1).build().unwrap();
    let items = [0, 1].map(|number| (number, file.clone()));
    for written in pool.map(write_twice, items).chunk_size(2) {
        assert_eq!(written.unwrap().0, Err(Said(false, false)));
    }
    assert_eq!(pool.stats().died, 0);
}
