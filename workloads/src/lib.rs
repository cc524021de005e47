//! Workloads of the lab: hashing files, querying databases, fetching URLs, starting programs, and kernels that isolate one cost
//! each.
//!
//! Each workload is one file with an implementation of [`Workload`], and one line in [`each`]. Nothing else in the lab
//! refers to one by its name.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod answer;
pub mod command;
mod error;
pub mod fetch;
pub mod kernels;
mod list;
mod made_input;
pub mod pathologies;
mod paths;
mod random;
pub mod sha256;
pub mod sqlite;
mod workload;

pub use answer::{Digest, Outcome, Prepared, digest_of};
pub use error::{ItemError, PrepareError, Skipped};
pub use list::read_list;
pub use paths::shown;
pub use random::Random;
pub use workload::{Format, ItemName, JobSize, Place, Shown, Start, Workload};

/// An action on a workload of any type.
pub trait VisitWorkload {
    /// Performs the action.
    fn visit<W: Workload>(&mut self);
}

/// All workloads of this crate, in the order of reports.
pub fn each(visitor: &mut impl VisitWorkload) {
    visitor.visit::<sha256::Spec>();
    visitor.visit::<sqlite::Spec>();
    visitor.visit::<fetch::Fetch>();
    visitor.visit::<kernels::SpinTasks>();
    visitor.visit::<kernels::IoWaitTasks>();
    visitor.visit::<kernels::PayloadTasks>();
    visitor.visit::<command::Spec>();
}
