//! Other people's executors, and the machine's own limits, for the same table as ours.

#[cfg(feature = "peers")]
mod crates;
mod limits;
mod python;

use crate::experiments::overhead::Subject;

#[cfg(feature = "peers")]
pub(crate) use crates::procspawn_figures;
pub(crate) use limits::limits;

/// To be called first in `main`: one of the peers starts this program again as well.
pub(crate) fn init() {
    #[cfg(feature = "peers")]
    procspawn::init();
}

/// Everything that can be measured here.
pub(crate) fn subjects(workers: usize) -> Vec<Subject> {
    let mut subjects = Vec::new();
    #[cfg(feature = "peers")]
    subjects.extend(crates::subjects(workers));
    subjects.extend(python::subjects(workers));
    subjects
}
