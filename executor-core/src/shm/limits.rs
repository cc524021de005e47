//! How much shared memory the program takes, and how many descriptors.

/// Bytes that are kept for the next use, and bytes that arguments may take which were not made in shared memory.
pub(super) const KEPT: usize = 32 << 20;

/// Files at most: the usual limit for a process is 1024, and the program needs some itself.
pub(super) const MOST_FILES: usize = 256;

/// While there are so many, files of what workers have made are closed once they are mapped: results that the program keeps
/// must not take the descriptors of everything else. Such a segment is copied when it is sent on.
pub(super) const MOST_FILES_OF_RESULTS: usize = 128;

/// What workers have made is all real memory, and is mapped once for each worker that has it. So what is longer than several
/// times all memory of the machine is there to use up addresses.
pub(super) const MOST_RESULTS: u64 = 4;

/// Shorter than this altogether, what workers have made need not be compared with the machine.
pub(super) const FEW_RESULTS: usize = 1 << 30;

/// Preallocated segments that are kept while workers have leases.
pub(crate) const PREALLOCATED: usize = 4;
/// Bytes of a preallocated segment, all of them holes. A value that is longer gets a segment of its own.
pub(super) const PREALLOCATED_BYTES: usize = 256 << 20;
