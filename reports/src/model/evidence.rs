//! The place on the page that shows the evidence of a finding.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A section of the page, or one of its charts. In JSON it is the anchor: `machine`, `scaling-sha256`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Id of the section: `scaling`, `overhead`, `efficiency`, `latency`, `machine`, `cells`.
    pub section: String,
    /// The part of the chart's anchor after the section; `None` for the whole section.
    pub chart: Option<String>,
}

impl Evidence {
    /// The whole section.
    pub fn section(id: &str) -> Self {
        Self { section: id.to_owned(), chart: None }
    }

    /// The chart of one workload.
    pub fn chart(section: &str, workload: &str) -> Self {
        // The page makes an anchor of a title by the same rule.
        Self { section: section.to_owned(), chart: Some(workload.replace('_', "-")) }
    }

    /// Its anchor on the page.
    pub fn anchor(&self) -> String {
        match &self.chart {
            Some(chart) => format!("{}-{chart}", self.section),
            None => self.section.clone(),
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.anchor())
    }
}

/// Compares by the anchor.
impl PartialEq<&str> for Evidence {
    fn eq(&self, other: &&str) -> bool {
        self.anchor() == *other
    }
}

/// Reads an anchor: sections have no dash in their ids.
impl From<&str> for Evidence {
    fn from(anchor: &str) -> Self {
        match anchor.split_once('-') {
            Some((section, chart)) => Self { section: section.to_owned(), chart: Some(chart.to_owned()) },
            None => Self::section(anchor),
        }
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|anchor| Self::from(anchor.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_json_it_is_the_anchor() {
        let chart = Evidence::chart("scaling", "io_wait");
        let json = serde_json::to_value(&chart).unwrap();
        assert_eq!(json, "scaling-io-wait");
        assert_eq!(serde_json::from_value::<Evidence>(json).unwrap(), chart);
        assert_eq!(Evidence::section("machine"), "machine");
    }
}
