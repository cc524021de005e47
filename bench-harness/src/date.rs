//! Dates of runs, in UTC.

use std::time::{Duration, UNIX_EPOCH};

/// A time in RFC 3339.
pub(crate) fn rfc3339(since_epoch: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since_epoch).to_string()
}

/// A time in a form that suits names of files.
pub(crate) fn compact(since_epoch: Duration) -> String {
    rfc3339(since_epoch).replace(['-', ':'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(Duration::ZERO), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Duration::from_secs(1_709_164_800)), "2024-02-29T00:00:00Z");
        assert_eq!(compact(Duration::from_secs(1_795_532_048)), "20261124T145408Z");
    }
}
