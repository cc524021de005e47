//! Values that are counted, to see whether one is kept for too long.

use std::{
    collections::HashMap,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::kinds::LONG;

static ALIVE: Mutex<Option<HashMap<u64, usize>>> = Mutex::new(None);
static CHANGED: Condvar = Condvar::new();

/// A value that travels as its key; how many of them are alive in a process can be asked there.
#[derive(Debug)]
pub(crate) struct Tracked(u64);

fn alive_here() -> MutexGuard<'static, Option<HashMap<u64, usize>>> {
    // A test that has failed must not fail the others.
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A key that no other test uses. Keys are made by the tests, and reach worker processes with their tasks.
pub(crate) fn new_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// How many values with this key are alive in this process.
pub(crate) fn alive(key: u64) -> usize {
    alive_here().get_or_insert_default().get(&key).copied().unwrap_or(0)
}

/// Waits until none is: another thread may be about to drop it.
pub(crate) fn wait_until_gone(key: u64) {
    let alive = alive_here();
    let (_alive, waited) =
        CHANGED.wait_timeout_while(alive, LONG, |alive| alive.get_or_insert_default().contains_key(&key)).unwrap();
    assert!(!waited.timed_out(), "the value is still kept");
}

impl Tracked {
    pub(crate) fn new(key: u64) -> Self {
        *alive_here().get_or_insert_default().entry(key).or_default() += 1;
        Self(key)
    }

    pub(crate) fn key(&self) -> u64 {
        self.0
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let mut alive = alive_here();
        let alive = alive.get_or_insert_default();
        if let Some(count) = alive.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                alive.remove(&self.0);
                CHANGED.notify_all();
            }
        }
    }
}

impl Serialize for Tracked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tracked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::new)
    }
}
