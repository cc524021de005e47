//! Random choices.

use executor_core::Shutdown;
use workloads::Random;

use super::tasks::answer;

/// A number below `limit`, which is small.
pub(super) fn below(random: &mut Random, limit: u64) -> u64 {
    random.next_u64() % limit.max(1)
}

/// A seed that derives from another one.
pub(super) fn mix(seed: u64, number: u64) -> u64 {
    answer(seed ^ answer(number))
}

/// A number of items, or none.
pub(super) fn perhaps(random: &mut Random, one_in: u64, most: u64) -> Option<usize> {
    let number = 1 + below(random, most) as usize;
    (below(random, one_in) == 0).then_some(number)
}

/// A random kind of shutdown.
pub(super) fn shutdown(random: &mut Random) -> Shutdown {
    [Shutdown::Drain, Shutdown::CancelQueued, Shutdown::Kill][below(random, 3) as usize]
}
