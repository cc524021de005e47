//! Panics that the panic hook is told of: how a test sees that a panic was reported.

use std::{
    panic,
    sync::{Mutex, PoisonError},
};

static MESSAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes every panic from now on, and hands it to the hook that was there.
pub(crate) fn install() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Some(message) = info.payload_as_str() {
            MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
        }
        previous(info);
    }));
}

/// How many panics with just this message were reported.
pub(crate) fn times(message: &str) -> usize {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|known| *known == message).count()
}
