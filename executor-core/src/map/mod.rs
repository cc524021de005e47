//! `map`: one task over many items, in chunks, in order.

mod builder;
mod chunk;
mod chunks;
#[expect(unsafe_code, reason = "writes items to where there is room")]
mod pull;
#[expect(unsafe_code, reason = "moves values out of a vector that is used again")]
mod ready;
mod spare;
mod try_map;

pub use builder::Map;
pub(crate) use chunk::Chunk;
pub use chunk::{ChunkInput, ChunkOutput};
pub(crate) use chunks::Source;
pub use chunks::{Chunks, Gather};
pub use try_map::TryMap;
