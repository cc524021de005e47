//! `map`: one task over many items, in chunks, in order.

mod backend;
mod buffer_pool;
mod builder;
mod chunk;
#[expect(unsafe_code, reason = "moves values out of a vector that is used again")]
mod chunk_iter;
mod collect;
#[expect(unsafe_code, reason = "writes items to where there is room")]
mod pull;
mod try_map;

pub use backend::MapBackend;
pub use builder::Map;
pub(crate) use chunk::Chunk;
pub use chunk::{ChunkInput, ChunkOutput};
pub use collect::Collect;
pub(crate) use collect::Source;
pub use try_map::TryMap;
