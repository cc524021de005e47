//! What the lab runs: hashing files, querying databases, fetching URLs, and kernels that isolate one cost each.
//!
//! Each workload is one file with the same five things: a `Spec` (what may be set), `prepare` (makes or checks the input),
//! the task (a plain function with a serde argument, the same on every executor), its digest, and what it stresses.
//! A task's own failure is its output ([`ItemError`]): one bad file, database or URL never costs its neighbours.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod answer;
mod error;
pub mod fetch;
pub mod kernels;
mod list;
mod made_input;
mod paths;
mod random;
pub mod sha256;
pub mod sqlite;

pub use answer::{Digest, Outcome, Prepared, digest_of};
pub use error::{ItemError, PrepareError, Skipped};
pub use list::read_list;
pub use paths::shown;
pub use random::Random;
