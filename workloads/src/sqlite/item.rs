//! The argument of one task, and the rows that it returns.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::paths;

/// One query on one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The database.
    #[serde(with = "paths::one")]
    pub database: PathBuf,
    /// The query.
    pub query: String,
    /// The most rows that it may return.
    pub max_rows: u64,
}

/// A value in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// NULL.
    Null,
    /// INTEGER.
    Integer(i64),
    /// REAL.
    Real(#[serde(with = "bits")] f64),
    /// TEXT; bytes that are not UTF-8 are replaced.
    Text(String),
    /// BLOB.
    Blob(Vec<u8>),
}

/// Writes a number as its bits, since digests are made of JSON, which has no infinities.
mod bits {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        number.to_bits().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// The rows of one query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Row by row, column by column.
    pub rows: Vec<Vec<Value>>,
}

impl Answer {
    /// Plain JSON values. A blob becomes an array of numbers, and an infinity, for which JSON has no number, a string.
    pub(super) fn to_json(&self) -> Vec<Vec<serde_json::Value>> {
        let value = |value: &Value| match value {
            Value::Null => serde_json::Value::Null,
            Value::Integer(number) => json!(number),
            Value::Real(number) if number.is_infinite() => {
                json!(if *number > 0.0 { "Infinity" } else { "-Infinity" })
            }
            Value::Real(number) => json!(number),
            Value::Text(text) => json!(text),
            Value::Blob(bytes) => json!(bytes),
        };
        self.rows.iter().map(|row| row.iter().map(value).collect()).collect()
    }

    /// A line for each row.
    pub(super) fn to_text(&self, name: &str) -> Vec<u8> {
        let mut text = String::new();
        for row in &self.rows {
            let values: Vec<String> = row
                .iter()
                .map(|value| match value {
                    Value::Null => "NULL".to_owned(),
                    Value::Integer(number) => number.to_string(),
                    Value::Real(number) => number.to_string(),
                    Value::Text(text) => text.clone(),
                    Value::Blob(bytes) => format!("{} bytes", bytes.len()),
                })
                .collect();
            text.push_str(&format!("{name}: {}\n", values.join(" | ")));
        }
        text.into_bytes()
    }
}
