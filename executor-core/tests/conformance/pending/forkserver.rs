//! Needs a variant in [`PROCESS_VARIANTS`](crate::kinds::PROCESS_VARIANTS) that sets
//! `start_method(StartMethod::ForkServer)`; every row on processes then runs on it as well.

use crate::{kinds::Processes, programs::Program};

pub(crate) fn test_forkserver(kind: Processes) {
    let (success, output) = Program::start("failing_initializers", kind, None, &[]).finish();
    assert!(success);
    assert_eq!(output, "nothing is left\n");
}
