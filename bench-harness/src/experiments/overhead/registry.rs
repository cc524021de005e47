//! Which file measures what.

use super::{
    fan_out, idle, map,
    measurement::{Measurement, Probe, Reading},
    memory, metg, payload, round_trip, shared_bytes, startup, submitters, throughput, waits,
};

/// Measures in this process, which was started for it.
pub(crate) fn measure(probe: &Probe) -> Result<Vec<Reading>, String> {
    match probe.measurement {
        Measurement::Throughput => throughput::measure(probe),
        Measurement::RoundTrip => round_trip::measure(probe),
        Measurement::Payload => payload::measure(probe),
        Measurement::SharedBytes => shared_bytes::measure(probe),
        Measurement::Map => map::measure(probe),
        Measurement::SkewedMap => map::measure_skewed(probe),
        Measurement::Submitters => submitters::measure(probe),
        Measurement::Waits => waits::measure(probe),
        Measurement::FanOut => fan_out::measure(probe),
        Measurement::Startup => startup::measure(probe),
        Measurement::Recovery => startup::measure_recovery(probe),
        Measurement::Memory => memory::measure(probe),
        Measurement::Depth => memory::measure_depth(probe),
        Measurement::Idle => idle::measure(probe),
        Measurement::Metg => metg::measure(probe),
    }
}
