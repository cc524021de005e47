//! Tasks that several tests need. Not every test needs all of them.
#![allow(dead_code)]

use executor_core::CancelToken;
use serde::{Deserialize, Serialize, Serializer};

/// Keeps a worker busy until the token is cancelled.
pub(crate) fn hold(token: CancelToken) {
    while !token.is_cancelled() {
        std::thread::yield_now();
    }
}

/// An argument that cannot be sent.
#[derive(Deserialize)]
pub(crate) struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this error is part of the test"))
    }
}
