//! [`SharedBytes`]: bytes that reach worker processes by reference.

#[cfg(target_os = "linux")]
use std::sync::{Mutex, OnceLock, PoisonError};
use std::{
    borrow::Borrow,
    fmt,
    hash::{Hash, Hasher},
    ops::Deref,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, EnumAccess, VariantAccess, Visitor},
};

#[cfg(target_os = "linux")]
use crate::{
    pins::{Pins, Written},
    shm::{self, Block, Made, Reference},
    sys,
};

/// Bytes that many holders read and that never change, in this process and, without a copy, in worker processes.
///
/// ```
/// use executor_core::SharedBytes;
///
/// let bytes = SharedBytes::from(vec![1, 2, 3]);
/// assert_eq!(bytes.iter().sum::<u8>(), 6);            // a `&[u8]` in all but name
/// ```
///
/// As an argument, inside of one, in the configuration of [`partial`](crate::partial), or as a result, only a reference
/// is sent: the worker reads the memory that the program wrote, and the other way round. A worker is handed the memory
/// once, and told a number from then on. The memory is freed when the last holder, in whatever process, drops its copy or dies. A
/// task may keep a copy, in a static for example, longer than it runs. Inside one process, a clone only counts a reference.
///
/// Bytes cross by reference if they were made by [`with_len`](Self::with_len), or were received. Bytes that come from a vector
/// stay there, and are copied into shared memory when they are first sent to a worker; a worker sends such bytes back as plain
/// bytes. Fewer than 64 KiB are always copied. All bytes are copied on systems without shared memory that can be sealed (outside
/// Linux), and when there is no more of it: each piece takes a file descriptor, and the crate takes no more than 256 of them. When
/// many results that refer to shared memory are kept, the program closes the files of the later ones and only keeps them mapped;
/// such a result is copied when it is sent on. The same is done where memory is refused, or where a limit on the size of files
/// (`RLIMIT_FSIZE`) is too small.
///
/// A worker can map the memory for reading only, and no process can shorten it, so a program that trusts no worker can trust
/// what it reads here. Shared memory does not count for a worker's memory limit. A worker that cannot map a piece, because it
/// has no descriptor left for example, fails the tasks that need it with [`TaskError::Decode`](crate::TaskError::Decode); the
/// next task that needs the piece brings it again.
///
/// # What workers can read
///
/// All workers of all pools count as one party: a worker is given the memory of pieces *before* anything is written to
/// them, so that sending them costs nothing, and pieces are used again. So code in a worker that looks for them can read bytes
/// that were sent to another worker, or to none. The same is true of `Vec<u8>` arguments of 64 KiB and more. Where tasks must
/// not read the data of other tasks, [`private_with_len`](Self::private_with_len) makes bytes that only the workers that they
/// are sent to can read.
///
/// A human-readable serializer (JSON) writes a plain sequence of bytes. Any serializer but the crate's own writes all the bytes: where
/// a type's `Serialize` makes bytes of a part of itself, nothing in them is a reference, and they can be decoded at any time.
///
/// # Examples
///
/// ```
/// use executor_core::{Executor, ProcessPoolExecutor, SharedBytes};
///
/// fn sum((bytes, from, to): (SharedBytes, usize, usize)) -> u64 {
///     bytes[from..to].iter().copied().map(u64::from).sum()
/// }
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     executor_core::init();
///     let pool = ProcessPoolExecutor::new(2)?;
///     let bytes = SharedBytes::with_len(1 << 20, |bytes| bytes.fill(1));
///     // Both read the same megabyte; nothing of it is copied.
///     let halves = [(0, 1 << 19), (1 << 19, 1 << 20)].map(|(from, to)| pool.submit(sum, (bytes.clone(), from, to)));
///     for half in halves {
///         assert_eq!(half?.result()?, 1 << 19);
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct SharedBytes {
    content: Arc<Content>,
}

enum Content {
    Own {
        bytes: Vec<u8>,
        /// `None` if no copy may be made that all workers could read.
        #[cfg(target_os = "linux")]
        copy: Option<SharedCopy>,
    },
    #[cfg(target_os = "linux")]
    Shared(Block),
}

/// A copy of bytes that workers can see, once one was needed.
#[cfg(target_os = "linux")]
struct SharedCopy {
    block: OnceLock<Block>,
    /// Held while the copy is made: many threads that send the same bytes at once make one copy.
    making: Mutex<()>,
    /// The process that makes the copy.
    process: u64,
}

#[cfg(target_os = "linux")]
impl SharedCopy {
    fn new() -> Self {
        Self { block: OnceLock::new(), making: Mutex::new(()), process: sys::generation() }
    }

    /// The reference by which a worker finds these bytes. If there is no memory for them now, the next thread that sends them
    /// tries again.
    fn refer(&self, bytes: &[u8]) -> Option<Reference> {
        // In a forked copy of the program, a thread that is not in the copy may have held the lock `making`, and will never release
        // it here. So each send makes a copy of the bytes, and its pins hold that copy for as long as it may be read.
        if self.process != sys::generation() {
            return Pins::refer(&shm::copy(bytes, shm::Use::Shared)?);
        }
        if let Some(block) = self.block.get() {
            return Pins::refer(block);
        }
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.block.get().is_none() {
            let _ = self.block.set(shm::copy(bytes, shm::Use::Shared)?);
        }
        Pins::refer(self.block.get()?)
    }
}

impl SharedBytes {
    /// Makes `length` bytes in memory that workers can see, and lets `fill` write them, so that they need not be copied when they
    /// are sent. The slice that `fill` gets has arbitrary content, left over from earlier uses of the memory; `fill` has to write
    /// every byte that matters.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::SharedBytes;
    ///
    /// let table = SharedBytes::with_len(1 << 20, |bytes| bytes.fill(7));
    /// assert_eq!(table[12345], 7);
    /// ```
    #[must_use]
    pub fn with_len(length: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        #[cfg(target_os = "linux")]
        if length >= shm::SHARED_FROM {
            return Self::make(length, shm::Use::Shared, fill);
        }
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Self::from(bytes)
    }

    /// Like [`with_len`](Self::with_len), in memory that no worker can read before it is sent the bytes, and that is not used
    /// again afterwards. It costs more: new pages, and about 35 µs the first time that each worker is sent the bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// use executor_core::SharedBytes;
    ///
    /// let key = SharedBytes::private_with_len(1 << 20, |bytes| bytes.fill(7));
    /// assert_eq!(key[12345], 7);
    /// ```
    #[must_use]
    pub fn private_with_len(length: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        #[cfg(target_os = "linux")]
        if length >= shm::SHARED_FROM {
            return Self::make(length, shm::Use::Private, fill);
        }
        let mut bytes = vec![0; length];
        fill(&mut bytes);
        Self::from(bytes)
    }

    #[cfg(target_os = "linux")]
    fn make(length: usize, purpose: shm::Use, fill: impl FnOnce(&mut [u8])) -> Self {
        match shm::make(length, purpose, fill) {
            Made::Shared(block) => Self { content: Arc::new(Content::Shared(block)) },
            // It is not copied on sending to memory that all workers could read.
            Made::Plain(bytes) if purpose == shm::Use::Private => {
                Self { content: Arc::new(Content::Own { bytes, copy: None }) }
            }
            Made::Plain(bytes) => Self::from(bytes),
        }
    }

    /// Returns the bytes as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &*self.content {
            Content::Own { bytes, .. } => bytes,
            #[cfg(target_os = "linux")]
            Content::Shared(block) => block.bytes(),
        }
    }

    /// The reference by which a worker finds the bytes; `None` when the bytes themselves have to be sent.
    #[cfg(target_os = "linux")]
    fn reference(&self) -> Option<Reference> {
        match &*self.content {
            Content::Shared(block) if block.can_be_sent() => Pins::refer(block),
            // The file of this piece was closed. The bytes are copied, and the sender's pins hold the copy for as long as it
            // may be read.
            Content::Shared(block) if Pins::may_share(self.len()) => {
                Pins::refer(&shm::copy(block.bytes(), shm::Use::Shared)?)
            }
            Content::Shared(_) => None,
            Content::Own { bytes, copy: Some(copy) } if Pins::may_share(bytes.len()) => copy.refer(bytes),
            Content::Own { .. } => None,
        }
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        let content = Content::Own {
            bytes,
            #[cfg(target_os = "linux")]
            copy: Some(SharedCopy::new()),
        };
        Self { content: Arc::new(content) }
    }
}

/// Copies the bytes into memory that workers can see.
impl From<&[u8]> for SharedBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::with_len(bytes.len(), |place| place.copy_from_slice(bytes))
    }
}

impl Default for SharedBytes {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for SharedBytes {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.content, &other.content) || **self == **other
    }
}

impl Eq for SharedBytes {}

impl PartialEq<[u8]> for SharedBytes {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl Hash for SharedBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBytes").field("len", &self.len()).finish_non_exhaustive()
    }
}

const NAME: &str = "SharedBytes";
const VARIANTS: &[&str] = &["Plain", "Shared"];

/// Bytes as they are sent where nothing is shared: all at once, and not one by one as serde writes slices.
pub(crate) struct Plain<'a>(pub(crate) &'a [u8]);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant(NAME, 0, VARIANTS[0], &Blob(self.0))
    }
}

struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A reference as it is sent.
#[cfg(target_os = "linux")]
pub(crate) struct Shared(pub(crate) Reference);

#[cfg(target_os = "linux")]
impl Serialize for Shared {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_variant(NAME, 1, VARIANTS[1], &self.0)
    }
}

impl Serialize for SharedBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_bytes(self);
        }
        #[cfg(target_os = "linux")]
        if Written::is::<S::Ok>()
            && let Some(reference) = self.reference()
        {
            return Shared(reference).serialize(serializer);
        }
        Plain(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_byte_buf(BlobVisitor).map(Self::from);
        }
        Ok(match Received::deserialize(deserializer)? {
            Received::Plain(bytes) => Self::from(bytes),
            #[cfg(target_os = "linux")]
            Received::Shared(block) => Self { content: Arc::new(Content::Shared(block)) },
        })
    }
}

/// Large bytes as they were received.
pub(crate) enum Received {
    Plain(Vec<u8>),
    #[cfg(target_os = "linux")]
    Shared(Block),
}

impl Received {
    /// Returns the bytes, copied if they are shared.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes,
            #[cfg(target_os = "linux")]
            Self::Shared(block) => block.bytes().to_vec(),
        }
    }
}

impl<'de> Deserialize<'de> for Received {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum(NAME, VARIANTS, ReceivedVisitor)
    }
}

struct ReceivedVisitor;

impl<'de> Visitor<'de> for ReceivedVisitor {
    type Value = Received;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes, or a reference to some")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Received, A::Error> {
        match data.variant()? {
            (0_u32, variant) => Ok(Received::Plain(variant.newtype_variant::<OwnedBlob>()?.0)),
            #[cfg(target_os = "linux")]
            (1, variant) => {
                let reference: Reference = variant.newtype_variant()?;
                reference.resolve().map(Received::Shared).map_err(de::Error::custom)
            }
            (other, _) => Err(de::Error::custom(format_args!("there are no shared bytes of kind {other}"))),
        }
    }
}

struct OwnedBlob(Vec<u8>);

impl<'de> Deserialize<'de> for OwnedBlob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor).map(Self)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = items.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}
