//! The order in which samples are taken.
//!
//! Blocks: each has one sample of every cell, in an order of its own. A drift over minutes (clock speed, neighbors on
//! the same host) then affects all cells alike, and samples of one block can be compared in pairs.

use workloads::Random;

/// One sample to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) block: u32,
    pub(crate) order: u32,
    pub(crate) cell: usize,
}

/// `repetitions` blocks of all `cells`, shuffled by `seed`.
pub(crate) fn interleave(cells: usize, repetitions: u32, seed: u64) -> Vec<Slot> {
    let mut random = Random::new(seed);
    let mut slots = Vec::with_capacity(cells * repetitions as usize);
    for block in 0..repetitions {
        let mut order: Vec<usize> = (0..cells).collect();
        // The shuffle of Fisher and Yates; the remainder's bias is below 2^-50 for any grid that can be measured.
        for last in (1..cells).rev() {
            order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        slots.extend(order.into_iter().map(|cell| Slot { block, order: 0, cell }));
    }
    for (order, slot) in slots.iter_mut().enumerate() {
        slot.order = order as u32;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_has_every_cell_once_and_the_seed_decides() {
        let slots = interleave(10, 3, 7);
        for block in slots.chunks(10) {
            let mut cells: Vec<_> = block.iter().map(|slot| slot.cell).collect();
            assert_ne!(cells, (0..10).collect::<Vec<_>>());
            cells.sort_unstable();
            assert_eq!(cells, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(slots, interleave(10, 3, 7));
        assert_ne!(slots, interleave(10, 3, 8));
    }
}
