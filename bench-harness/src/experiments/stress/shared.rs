//! Shared bytes that are sent to workers and back, and some of which workers keep: their content never changes.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use executor_core::{SharedBytes, in_worker};
use workloads::Random;

use super::{
    draw::below,
    driver::{Driver, StressSubject},
    maps,
    tasks::answer,
};

/// Shared bytes of earlier tasks that a worker keeps.
static KEPT: Mutex<VecDeque<(SharedBytes, u64)>> = Mutex::new(VecDeque::new());
/// The most that it keeps.
const MOST_KEPT: usize = 8;

/// Bytes that derive from their seed.
fn made(length: usize, seed: u64) -> SharedBytes {
    SharedBytes::with_len(length, |bytes| {
        for (place, part) in bytes.chunks_mut(8).enumerate() {
            let word = answer(seed ^ place as u64).to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    })
}

fn is_right(bytes: &[u8], seed: u64) -> bool {
    bytes.chunks(8).enumerate().all(|(place, part)| {
        let word = answer(seed ^ place as u64).to_le_bytes();
        part == &word[..part.len()]
    })
}

/// Whether the bytes arrived, whether the kept ones are unchanged, and bytes of the worker's own or those of the argument.
type Seen = (bool, bool, SharedBytes);

/// Checks the argument and all kept bytes, and answers by reference.
fn inspect((bytes, seed): (SharedBytes, u64)) -> Seen {
    let arrived = is_right(&bytes, seed);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let unchanged = kept.iter().all(|(bytes, seed)| is_right(bytes, *seed));
    // In the program itself, keeping them would be a leak.
    if in_worker() && seed.is_multiple_of(3) {
        if kept.len() == MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back((bytes.clone(), seed));
    }
    let back = if seed.is_multiple_of(2) { bytes } else { made(bytes.len(), seed) };
    (arrived, unchanged, back)
}

pub(super) fn round_trip<S: StressSubject>(driver: &Driver<'_, S>, random: &mut Random) {
    let (length, seed) = (1 + below(random, 300_000) as usize, random.next_u64());
    let bytes = made(length, seed);
    let held = (seed % 5 == 0).then(|| bytes.clone());
    let outcome = driver.pool.submit(inspect, (bytes, seed));
    drop(held);
    match outcome.map(|future| future.result()) {
        Ok(Ok((arrived, unchanged, back))) => {
            driver.round.require(arrived, || format!("{length} shared bytes have arrived as others"));
            driver.round.require(unchanged, || "shared bytes that a worker keeps have changed".to_owned());
            driver.round.require(back.len() == length && is_right(&back, seed), || {
                format!("{length} shared bytes came back as others")
            });
        }
        Ok(Err(error)) => maps::check_error(driver.round, &error),
        Err(error) => driver.round.check_refusal(error, false),
    }
}
