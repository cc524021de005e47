//! `map`: one task over many items, in chunks, in order.

mod builder;
mod chunk;
mod chunks;
mod gather;
#[expect(unsafe_code, reason = "writes items to where there is room")]
mod pull;
#[expect(unsafe_code, reason = "moves values out of a vector that is used again")]
mod ready;
mod spare;
mod try_map;

pub use builder::Map;
pub(crate) use chunk::Chunk;
pub use chunk::{ChunkInput, ChunkOutput};
pub use chunks::Chunks;
pub use gather::Gather;
pub(crate) use gather::Source;
pub use try_map::TryMap;
