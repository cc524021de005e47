//! What both sides mean by a task: the function, its encoded argument, and what comes of it.

pub(super) mod answer;
pub(super) mod arguments;
pub(super) mod bytes;
pub(super) mod call;
#[expect(unsafe_code, reason = "finds what is at an address")]
pub(super) mod entry;
pub(super) mod function_id;
#[expect(unsafe_code, reason = "puts and takes answers by the protocol of the cell")]
pub(super) mod job;
#[expect(unsafe_code, reason = "owns what it has the address of")]
pub(super) mod location;
pub(super) mod request;
pub(super) mod results;
