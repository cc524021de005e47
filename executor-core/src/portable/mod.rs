//! A portable call: a task in the form in which another process can be told of it, and its answer.
//!
//! The function is an offset between two runs of one build ([`function_id`]), its argument is bytes ([`request`], [`arguments`]),
//! and its answer is bytes that the future's owner decodes ([`answer`], [`results`]). Beside the future's cell is what the pool has
//! to know of the task, and what the future may ask of the pool ([`job::TaskOwner`]). A process pool is built on this, and so can
//! be an executor that reaches other hosts: nothing in here knows how calls travel.

pub(crate) mod answer;
pub(crate) mod arguments;
pub(crate) mod bytes;
pub(crate) mod call;
#[expect(unsafe_code, reason = "finds what is at an address")]
pub(crate) mod entry;
pub(crate) mod function_id;
#[expect(unsafe_code, reason = "puts and takes answers by the protocol of the cell")]
pub(crate) mod job;
#[expect(unsafe_code, reason = "owns what it has the address of")]
pub(crate) mod location;
pub(crate) mod request;
pub(crate) mod results;
