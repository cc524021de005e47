//! Memory that all threads of a process take from one allocator, from one address space, or from one table.

use std::{hint::black_box, sync::LazyLock};

use crate::random::Random;

const PAGE: usize = 4096;

/// Allocates blocks that lie in the heap, fills them, and frees them all. The heap's top is then free, and glibc gives it back to
/// the system where it is longer than the trim threshold: the next round faults on each page again.
pub(super) fn many_blocks(rounds: u32) -> u64 {
    const BLOCKS: usize = 64;
    let sum = (0..rounds).map(|round| {
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![round as u8; PAGE]).collect();
        blocks.iter().map(|block| u64::from(black_box(block)[PAGE - 1])).sum::<u64>()
    });
    sum.sum()
}

/// Allocates one block above the threshold from which glibc maps memory, and writes every page of it.
pub(super) fn large_blocks(rounds: u32) -> u64 {
    let sum = (0..rounds).map(|round| {
        let block = vec![round as u8 | 1; 64 * PAGE];
        u64::from(black_box(&block)[PAGE])
    });
    sum.sum()
}

/// Maps, writes one page, and unmaps: the blocks are longer than what the heap has free at its top, without which the
/// allocator does not ask whether it should map them.
pub(super) fn short_mappings(rounds: u32) -> u64 {
    let sum = (0..rounds * 8).map(|round| {
        let mut block: Vec<u8> = Vec::with_capacity(256 * PAGE);
        block.push(round as u8);
        u64::from(black_box(&block)[0])
    });
    sum.sum()
}

/// Allocates and frees blocks that are too long for the cache that each thread has in front of the arenas.
pub(super) fn middle_blocks(rounds: u32) -> u64 {
    const KEPT: usize = 16;
    let mut kept: [Vec<u8>; KEPT] = Default::default();
    let mut sum = 0;
    for round in 0..rounds as usize * 200 {
        let mut block = Vec::with_capacity(2048);
        block.push(round as u8);
        sum += u64::from(black_box(&block)[0]);
        kept[round % KEPT] = block;
    }
    sum
}

/// A table that is computed once in each process.
static TABLE: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut random = Random::new(42);
    (0..1 << 16).map(|_| random.next_u64()).collect()
});

/// Reads the table at places that depend on what was read.
pub(super) fn look_up(rounds: u32, index: u32) -> u64 {
    let table = &*TABLE;
    (0..rounds * 5_000).fold(index.into(), |at: u64, _| table[at as usize % table.len()].rotate_left(7) ^ at)
}
