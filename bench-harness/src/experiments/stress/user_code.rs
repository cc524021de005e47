//! Values whose own code misbehaves: it fails, panics, is slow, or calls the pool that is working on the value.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use executor_core::{TaskError, in_worker};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use workloads::Random;

use super::{
    draw::below,
    tasks::{self, answer, panic_message},
};

/// The behavior of a value's own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mood {
    Calm,
    /// Submits to the pool that is encoding, decoding or dropping it, and asks for its numbers.
    Reenters,
    Slow,
    FailsWhenWritten,
    PanicsWhenWritten,
    FailsWhenRead,
    PanicsWhenRead,
    /// Ends the worker process that reads it.
    AbortsWhenRead,
}

impl Mood {
    /// The moods that do not end a worker process.
    const HARMLESS: [Self; 8] = [
        Self::Calm,
        Self::Calm,
        Self::Reenters,
        Self::Slow,
        Self::FailsWhenWritten,
        Self::PanicsWhenWritten,
        Self::FailsWhenRead,
        Self::PanicsWhenRead,
    ];

    pub(super) fn draw(random: &mut Random) -> Self {
        Self::HARMLESS[below(random, Self::HARMLESS.len() as u64) as usize]
    }

    /// Whether a task that ends with this error has a reason for it, where such a value crosses to another process.
    pub(super) fn explains(self, error: &TaskError) -> bool {
        match (self, error) {
            (Self::FailsWhenWritten | Self::PanicsWhenWritten, TaskError::Encode { cause, .. })
            | (Self::FailsWhenRead | Self::PanicsWhenRead, TaskError::Decode { cause, .. }) => {
                cause.to_string().contains(&panic_message(0))
            }
            // Where the task's own worker reads or writes it, the panic is that of the task.
            (Self::PanicsWhenRead | Self::PanicsWhenWritten, TaskError::Panicked { message, .. }) => {
                *message == panic_message(0)
            }
            (Self::AbortsWhenRead, TaskError::WorkerDied { .. }) => true,
            _ => false,
        }
    }

    /// Whether such a value can be sent to another process and read there.
    pub(super) fn crosses(self) -> bool {
        matches!(self, Self::Calm | Self::Reenters | Self::Slow)
    }

    fn acts(self) {
        match self {
            Self::Reenters => reenter(),
            // The delay is the scenario.
            Self::Slow => thread::sleep(Duration::from_micros(300)),
            _ => {}
        }
    }
}

/// The function that [`Mood::Reenters`] calls, in the program itself.
type Entrance = Arc<dyn Fn() + Send + Sync>;

static ENTRANCE: Mutex<Option<Entrance>> = Mutex::new(None);

/// From now on values call `entrance`, or nothing.
pub(super) fn set_entrance(entrance: Option<Entrance>) {
    let old = std::mem::replace(&mut *ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner), entrance);
    // It may hold the last reference to a pool.
    drop(old);
}

fn reenter() {
    if in_worker() {
        return;
    }
    let entrance = ENTRANCE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(entrance) = entrance {
        entrance();
    }
}

/// An argument, a result or a configuration with a mood.
pub(super) struct UserValue {
    pub(super) x: u64,
    pub(super) mood: Mood,
}

impl Drop for UserValue {
    fn drop(&mut self) {
        self.mood.acts();
    }
}

impl fmt::Debug for UserValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mood.acts();
        write!(f, "{:?} {}", self.mood, self.x)
    }
}

impl Serialize for UserValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.mood.acts();
        match self.mood {
            Mood::FailsWhenWritten => Err(ser::Error::custom(panic_message(0))),
            Mood::PanicsWhenWritten => panic!("{}", panic_message(0)),
            _ => (self.x, self.mood).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for UserValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (x, mood) = <(u64, Mood)>::deserialize(deserializer)?;
        mood.acts();
        match mood {
            Mood::FailsWhenRead => Err(de::Error::custom(panic_message(0))),
            Mood::PanicsWhenRead => panic!("{}", panic_message(0)),
            Mood::AbortsWhenRead => std::process::abort(),
            _ => Ok(Self { x, mood }),
        }
    }
}

/// A task with such an argument.
pub(super) fn take(value: UserValue) -> u64 {
    tasks::quick(value.x)
}

/// A task with such a result.
pub(super) fn give((x, mood): (u64, Mood)) -> UserValue {
    UserValue { x: answer(x), mood }
}

/// A task with such a configuration.
pub(super) fn configured(x: u64, config: &UserValue) -> u64 {
    answer(x.wrapping_add(config.x))
}
