//! The cost of writing and reading the values that cross to a worker process. The crate's codec is private; this does what it does,
//! with postcard itself: append to a vector, and read from a slice. The crate's code around postcard, which keeps the texts of
//! errors and bounds nesting, costs next to nothing beside that.
//!
//! A `Vec<u8>` goes through serde element by element, which is what the last pair is there to show.

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use serde::{Serialize, de::DeserializeOwned};

/// Writes to the end of a vector, as the crate's codec does: no copy from a buffer of the codec's own.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

fn encode<T: Serialize>(value: &T, output: &mut Vec<u8>) -> postcard::Result<()> {
    output.clear();
    postcard::serialize_with_flavor(value, Append(output))
}

fn value<T: Serialize + DeserializeOwned>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    value: T,
) -> postcard::Result<()> {
    // Once before the clock runs, so that an error ends the benchmark instead of being measured.
    let mut bytes = Vec::new();
    encode(&value, &mut bytes)?;
    postcard::from_bytes::<T>(&bytes)?;

    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut output = Vec::new();
    group.bench_function(format!("{name}/encode"), |b| b.iter(|| encode(black_box(&value), &mut output)));
    group.bench_function(format!("{name}/decode"), |b| b.iter(|| postcard::take_from_bytes::<T>(black_box(&bytes))));
    Ok(())
}

fn codec(c: &mut Criterion) -> postcard::Result<()> {
    let mut group = c.benchmark_group("codec");
    value(&mut group, "tuple", (7_u64, 300_u32, true))?;
    value(&mut group, "string_of_64", "0123456789abcdef".repeat(4))?;
    // Every byte value, as in data that is compressed.
    value(&mut group, "vec_of_1_MiB", (0..1_u32 << 20).map(|i| i.to_le_bytes()[0]).collect::<Vec<u8>>())?;
    group.finish();
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    executor_core::init();
    let mut criterion = Criterion::default().configure_from_args();
    codec(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}
