//! `map`: one task over many items, in chunks, in order.

mod builder;
mod chunks;
mod try_map;

pub use builder::Map;
pub(crate) use chunks::Source;
pub use chunks::{Chunks, Gather};
pub use try_map::TryMap;
