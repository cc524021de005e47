//! Latencies of single tasks.

use std::time::Duration;

use reports::model::Latency;

/// Nanoseconds; saturates after half a millennium.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The percentile of sorted values: the smallest one that at least this share of them does not exceed.
pub(crate) fn nearest_rank(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Nearest-rank percentiles.
pub(crate) fn percentiles(mut latencies: Vec<u64>) -> Option<Latency> {
    latencies.sort_unstable();
    let at = |share: f64| nearest_rank(&latencies, share);
    Some(Latency {
        p50_ns: at(0.5)?,
        p90_ns: at(0.9)?,
        p99_ns: at(0.99)?,
        p999_ns: at(0.999)?,
        max_ns: *latencies.last()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let latency = percentiles((1..=1000).rev().collect()).unwrap();
        assert_eq!(
            (latency.p50_ns, latency.p90_ns, latency.p99_ns, latency.p999_ns, latency.max_ns),
            (500, 900, 990, 999, 1000)
        );
        assert_eq!(percentiles(vec![7]).unwrap().p50_ns, 7);
        assert!(percentiles(Vec::new()).is_none());
    }
}
