//! One block of one executor: every batch is timed in a process that was started for it, in a plain loop and on the executor.

use std::{borrow::Borrow, hint::black_box, time::Instant};

use executor_core::{Executor, Payload, SharedBytes, Task};
use reports::{cost::Lane, model::Reason};
use serde::{Deserialize, Serialize};
use workloads::kernels::{Spin, spin};

use super::design::Shape;
use crate::{
    error::chain,
    executors::{AnyExecutor, Kind},
    runner::{process_tree, schedule::interleave},
    stats::{median, nanos},
};

/// How often a batch is timed at least; the median counts.
const FEWEST_ROUNDS: usize = 3;
/// A batch that takes less is timed so long: a short one differs more from time to time.
const ROUNDS_NS: f64 = 15e6;
/// A batch that takes more is timed once: it does not differ so much.
const LONG_NS: f64 = 60e6;

/// The description of a block, as it is sent to its process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CostProbe {
    pub(crate) executor: Kind,
    pub(crate) workers: u32,
    /// How often a batch is timed at most.
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
    pub(crate) shapes: Vec<Shape>,
}

/// What it has measured: for each batch the time of its work in a plain loop, and that on the executor, in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CostBlock {
    pub(crate) times: Vec<(f64, f64)>,
    /// Memory of the process tree beyond that without a pool.
    pub(crate) memory: Option<u64>,
}

/// An executor with a number of workers.
pub(super) type Pool = (Kind, u32);

/// The blocks of each pool, by number: a block that failed or was not reached is missing.
pub(super) type Measured = Vec<Vec<(u32, CostBlock)>>;

/// Takes the measurements in this process.
pub(crate) fn measure(probe: &CostProbe) -> Result<CostBlock, Reason> {
    let before = process_tree::memory(std::process::id());
    let CostProbe { executor: kind, workers, rounds: most, seed, ref shapes } = *probe;
    let executor = AnyExecutor::start(kind, workers as usize).map_err(|error| chain(&error))?;
    // Threads that start on demand are started, and their memory is measured before that of arguments is.
    let warm = Shape { tasks: 4 * workers, iterations: 1000, ..PLAIN };
    batch(|| Ok(&executor), &warm)?;
    let memory = process_tree::memory(std::process::id()).zip(before);
    let mut rounds: Vec<Vec<(f64, f64)>> = vec![Vec::new(); shapes.len()];
    for slot in interleave(shapes.len(), most, seed) {
        let shape = &shapes[slot.cell];
        if is_enough(&rounds[slot.cell]) {
            continue;
        }
        let times = if shape.cold {
            batch(|| AnyExecutor::cold(kind, workers as usize).map_err(|error| Reason::from(chain(&error))), shape)?
        } else {
            batch(|| Ok(&executor), shape)?
        };
        rounds[slot.cell].push(times);
    }
    let middle = |times: &Vec<(f64, f64)>| {
        let of = |pick: fn(&(f64, f64)) -> f64| median(&times.iter().map(pick).collect::<Vec<_>>());
        (of(|(work, _)| *work), of(|(_, wall)| *wall))
    };
    let memory = memory.map(|(after, before)| after.saturating_sub(before));
    Ok(CostBlock { times: rounds.iter().map(middle).collect(), memory })
}

const PLAIN: Shape =
    Shape { tasks: 1, iterations: 0, lane: None, bytes_in: 0, bytes_out: 0, cold: false, held_out: false };

/// Whether a batch was timed often enough.
fn is_enough(rounds: &[(f64, f64)]) -> bool {
    let taken: f64 = rounds.iter().map(|(work, wall)| work + wall).sum();
    taken >= LONG_NS || (rounds.len() >= FEWEST_ROUNDS && taken >= ROUNDS_NS)
}

/// The argument and the result with nested bytes.
#[derive(Serialize, Deserialize)]
struct Nested {
    iterations: u64,
    bytes_out: u32,
    bytes: Vec<u8>,
}

fn nested(argument: Nested) -> Nested {
    let iterations = spin(Spin { iterations: argument.iterations, seed: argument.bytes.len() as u64 });
    Nested { iterations, bytes_out: 0, bytes: vec![1; argument.bytes_out as usize] }
}

/// The first bytes of an argument that is nothing but bytes: iterations, and length of the result.
const HEAD: usize = 16;

fn head(shape: &Shape) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&shape.iterations.to_le_bytes());
    head[8..].copy_from_slice(&u64::from(shape.bytes_out).to_le_bytes());
    head
}

/// Does the work that the head asks for; returns the length of the result.
fn from_head(argument: &[u8]) -> usize {
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&argument[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    black_box(spin(Spin { iterations: number(0), seed: 1 }));
    number(8) as usize
}

fn whole(argument: Vec<u8>) -> Vec<u8> {
    vec![1; from_head(&argument)]
}

fn shared(argument: SharedBytes) -> SharedBytes {
    SharedBytes::with_len(from_head(&argument), |bytes| bytes.fill(1))
}

/// Times a batch in a plain loop and on the pool that `build` gives.
fn batch<P: Borrow<AnyExecutor>>(
    build: impl FnOnce() -> Result<P, Reason>,
    shape: &Shape,
) -> Result<(f64, f64), Reason> {
    let Shape { tasks, iterations, bytes_in, bytes_out, .. } = *shape;
    let length = (bytes_in as usize).max(HEAD);
    match shape.lane {
        None => timed(build, || (0..u64::from(tasks)).map(|seed| Spin { iterations, seed }).collect(), spin, |it| *it),
        Some(Lane::Nested) => {
            let one = || Nested { iterations, bytes_out, bytes: vec![1; bytes_in as usize] };
            timed(build, || (0..tasks).map(|_| one()).collect(), nested, |it| it.iterations ^ it.bytes.len() as u64)
        }
        Some(Lane::Bytes) => {
            let one = || {
                let mut bytes = vec![1; length];
                bytes[..HEAD].copy_from_slice(&head(shape));
                bytes
            };
            timed(build, || (0..tasks).map(|_| one()).collect(), whole, |it| it.len() as u64)
        }
        Some(Lane::Shared) => {
            let fill = |bytes: &mut [u8]| {
                bytes.fill(1);
                bytes[..HEAD].copy_from_slice(&head(shape));
            };
            let one = || SharedBytes::with_len(length, fill);
            timed(build, || (0..tasks).map(|_| one()).collect(), shared, |it| it.len() as u64)
        }
    }
}

/// Making the arguments belongs neither to the work nor to the executor.
fn timed<P: Borrow<AnyExecutor>, A: Payload, F, M: 'static>(
    build: impl FnOnce() -> Result<P, Reason>,
    make: impl Fn() -> Vec<A>,
    task: F,
    check: fn(&F::Output) -> u64,
) -> Result<(f64, f64), Reason>
where
    F: Task<A, M>,
    F::Output: Payload,
{
    let (own, sent) = (make(), make());
    let start = Instant::now();
    let expected = own.into_iter().fold(0_u64, |sum, argument| {
        let answer = black_box(task.call(argument));
        sum.wrapping_add(check(&answer))
    });
    let work = nanos(start.elapsed()) as f64;

    let start = Instant::now();
    let pool = build()?;
    let executor = pool.borrow();
    let futures: Vec<_> =
        sent.into_iter().filter_map(|argument| executor.submit(task.clone(), argument).ok()).collect();
    let mut found = 0_u64;
    for future in futures {
        let answer = future.result().map_err(|error| chain(&error))?;
        found = found.wrapping_add(check(&answer));
    }
    let wall = nanos(start.elapsed()) as f64;
    if found != expected {
        return Err(Reason::wrong("they are not those of a plain loop"));
    }
    Ok((work, wall))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::cost::design::shapes;

    #[test]
    fn every_shape_gives_the_answers_of_a_plain_loop() {
        // A slow kernel makes short tasks.
        let probe = CostProbe { executor: Kind::Thread, workers: 2, rounds: 3, seed: 1, shapes: shapes(1.0) };
        let block = measure(&probe).unwrap();
        assert_eq!(block.times.len(), probe.shapes.len());
        for (shape, (work, wall)) in probe.shapes.iter().zip(block.times) {
            assert!(work > 0.0 && wall > 0.0, "{shape:?}");
        }
    }
}
