//! A function of one's own on every executor: `docs/your-own-work.md` goes through it step by step.

use bench_harness::Lab;
use serde::{Deserialize, Serialize};

/// One picture to make smaller.
#[derive(Serialize, Deserialize)]
struct Job {
    seed: u32,
    width: usize,
    height: usize,
}

/// A gray picture.
#[derive(Serialize, Deserialize)]
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

/// How many pixels become one, in each direction.
const FACTOR: usize = 8;

/// Makes a picture smaller: each pixel is the mean of a square.
fn resize(job: Job) -> Picture {
    let large = draw(&job);
    let (width, height) = (large.width / FACTOR, large.height / FACTOR);
    let mean = |x: usize, y: usize| {
        let row = |dy: usize| (y * FACTOR + dy) * large.width + x * FACTOR;
        let sum: u32 = (0..FACTOR).flat_map(|dy| &large.pixels[row(dy)..row(dy) + FACTOR]).map(|&it| u32::from(it)).sum();
        (sum / (FACTOR * FACTOR) as u32) as u8
    };
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| mean(x, y)).collect();
    Picture { width, height, pixels }
}

/// Stands for reading the picture from a file.
fn draw(job: &Job) -> Picture {
    let mut state = job.seed;
    let pixel = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    Picture { width: job.width, height: job.height, pixels: (0..job.width * job.height).map(pixel).collect() }
}

/// The inputs: the same ones in the same order each time.
fn load_jobs() -> Vec<Job> {
    (0..200).map(|seed| Job { seed, width: 800, height: 600 }).collect()
}

fn main() -> std::process::ExitCode {
    // The lab starts this program again for each sample, and for worker processes: nothing comes before this line.
    Lab::empty().task("resize", resize, load_jobs).run()
}
