//! The batches that the cost model is fitted to, and those that it has to predict.

use reports::cost::{Lane, Load};
use serde::{Deserialize, Serialize};

/// One batch of equal tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) tasks: u32,
    /// Work of each, in iterations of a kernel.
    pub(crate) iterations: u64,
    pub(crate) lane: Option<Lane>,
    pub(crate) bytes_in: u32,
    pub(crate) bytes_out: u32,
    /// Whether the pool is built for the batch.
    pub(crate) cold: bool,
    /// Whether it is left out of the fit, to be predicted.
    pub(crate) held_out: bool,
}

impl Shape {
    pub(crate) fn load(&self, work_ns: f64) -> Load {
        let Self { tasks, lane, bytes_in, bytes_out, cold, .. } = *self;
        Load { tasks: tasks.into(), work_ns, lane, bytes_in: bytes_in.into(), bytes_out: bytes_out.into(), cold }
    }
}

/// Number of tasks, and work of each in microseconds.
///
/// Work is either one task or some 60 ms in all: of a batch of 2 to 20 ms, the scheduler of the system decides whether it takes its
/// time or twice as long. A woken thread may wait so long for the core of the thread that woke it while another core is idle (on
/// guests of a hypervisor, whose idle cores look as if they were taken).
const WARM: [(u32, f64); 12] = [
    (1, 0.0),
    (16, 0.0),
    (256, 0.0),
    (4000, 0.0),
    (1, 1000.0),
    (64, 1000.0),
    (16, 4000.0),
    (600, 100.0),
    (150, 400.0),
    (6000, 10.0),
    (1200, 50.0),
    (20_000, 3.0),
];
const COLD: [(u32, f64); 3] = [(2, 0.0), (500, 0.0), (120, 500.0)];
const HELD_OUT: [(u32, f64); 6] = [(200, 300.0), (30, 2000.0), (2400, 25.0), (10_000, 6.0), (3000, 20.0), (1000, 0.0)];

/// Number of tasks, bytes in, bytes out.
const BYTES: [(u32, u32, u32); 6] = [
    (200, 4 << 10, 0),
    (64, 32 << 10, 0),
    (32, 128 << 10, 0),
    (200, 0, 4 << 10),
    (64, 0, 32 << 10),
    (32, 0, 128 << 10),
];
const BYTES_HELD_OUT: (u32, u32, u32) = (64, 64 << 10, 16 << 10);

/// All of them. `speed` is the iterations of the kernel in a microsecond.
pub(crate) fn shapes(speed: f64) -> Vec<Shape> {
    let of = |(tasks, micros): (u32, f64)| Shape {
        tasks,
        iterations: (micros * speed) as u64,
        lane: None,
        bytes_in: 0,
        bytes_out: 0,
        cold: false,
        held_out: false,
    };
    let mut shapes: Vec<Shape> = WARM.into_iter().map(of).collect();
    shapes.extend(COLD.into_iter().map(|shape| Shape { cold: true, ..of(shape) }));
    shapes.extend(HELD_OUT.into_iter().map(|shape| Shape { held_out: true, ..of(shape) }));
    for lane in Lane::ALL {
        let bytes = |(tasks, bytes_in, bytes_out), held_out| Shape {
            lane: Some(lane),
            bytes_in,
            bytes_out,
            held_out,
            ..of((tasks, 0.0))
        };
        shapes.extend(BYTES.into_iter().map(|shape| bytes(shape, false)));
        shapes.push(bytes(BYTES_HELD_OUT, true));
    }
    shapes
}

#[cfg(test)]
mod tests {
    use reports::cost::Term;

    use super::*;

    #[test]
    fn every_term_takes_part_and_what_is_held_out_is_new() {
        let shapes = shapes(1000.0);
        let fitted = || shapes.iter().filter(|shape| !shape.held_out);
        for term in Term::all() {
            let amounts = fitted().map(|shape| shape.load(1.0).amount(term, 2)).filter(|amount| *amount > 0.0);
            assert!(amounts.count() >= 3, "{term:?}");
        }
        assert!(fitted().count() >= 2 * Term::all().len());
        for held in shapes.iter().filter(|shape| shape.held_out) {
            assert!(fitted().all(|shape| Shape { held_out: true, ..*shape } != *held));
        }
    }
}
