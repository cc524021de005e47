//! The one allocation of a task: its [`Cell`], a content (its closure, its argument, its result), and a table of functions: its
//! [`Body`]. Every holder of the task has one thin pointer.

use std::{
    fmt,
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull,
    time::{Duration, Instant},
};

use super::{callbacks, cell::Cell, outcome::Stored, spin::spin_for_end};
use crate::{error::TaskError, panic};

/// What a task is besides its cell: where its work, its argument or its outcome are kept. Every call comes from a holder of the
/// task.
pub(crate) trait Body: Sized + 'static {
    /// The content that is stored beside the cell.
    type Content: Send + Sync + 'static;
    type Output: Send + 'static;

    /// Takes the outcome, for the one handle of a cell that is done; `None` if it was taken before.
    fn take(task: &Task<Self::Content>) -> Option<Stored<Self::Output>>;

    /// Whether the cell, which is done, holds an error other than a cancellation.
    fn is_error(task: &Task<Self::Content>) -> bool;

    /// The kind of error that the task has failed with, if it can be seen without taking the outcome.
    fn error_kind(_: &Task<Self::Content>) -> Option<&'static str> {
        None
    }

    /// Cancels the task if it has not started; `true` if this call did it.
    fn cancel(task: &Task<Self::Content>) -> bool {
        task.cell().cancel()
    }

    /// Stops the task even if it runs; `false` if that cannot be done.
    fn kill(task: &Task<Self::Content>) -> bool {
        Self::cancel(task)
    }

    /// Whether the task runs although its state is Pending.
    fn is_running(_: &Task<Self::Content>) -> bool {
        false
    }

    /// The pool that the task belongs to; 0 for a promise.
    fn pool(_: &Task<Self::Content>) -> u64 {
        0
    }

    /// Runs the task on this thread unless it has started; returns whether it did.
    fn run(_: &Task<Self::Content>) -> bool {
        false
    }

    /// Runs the task on this thread, which has its handle, waits for it and works for its pool, unless the task has started.
    /// Returns the outcome if no other holder can ask for it, and otherwise keeps it in the task.
    fn run_here(task: &Task<Self::Content>) -> Option<Stored<Self::Output>> {
        Self::run(task);
        None
    }

    /// Ends a task with an error unless it has started; returns whether it did.
    fn fail(_: &Task<Self::Content>, _: TaskError) -> bool {
        false
    }

    /// Called when the task has run for longer than it may.
    fn expire(_: &Task<Self::Content>, _: Duration) {}

    /// Called when the task has waited for longer than it may.
    fn expire_queued(_: &Task<Self::Content>, _: Duration) {}

    /// Looks at the task for a while, and does what this thread can do to bring its end nearer; returns whether the task is done.
    fn spin(task: &Task<Self::Content>, deadline: Option<Instant>) -> bool {
        spin_for_end(deadline, task.cell())
    }

    /// Called when a waiter was added that may sleep until the task is done.
    fn wanted(_: &Task<Self::Content>) {}

    /// Whether the task, which is done, has no other holder, and has a result whose destructor may take its time.
    fn is_unwanted(_: &Task<Self::Content>) -> bool {
        false
    }

    /// Drops what the state of `cell` says is still there, once the last holder is gone.
    fn clear(_: &mut Self::Content, _: &Cell) {}
}

/// What a thin pointer points to.
#[repr(C)]
struct Block<C> {
    cell: Cell,
    vtable: &'static VTable,
    content: C,
}

struct VTable {
    take: unsafe fn(NonNull<Header>, *mut ()),
    is_error: unsafe fn(NonNull<Header>) -> bool,
    error_kind: unsafe fn(NonNull<Header>) -> Option<&'static str>,
    cancel: unsafe fn(NonNull<Header>) -> bool,
    kill: unsafe fn(NonNull<Header>) -> bool,
    is_running: unsafe fn(NonNull<Header>) -> bool,
    pool: unsafe fn(NonNull<Header>) -> u64,
    run: unsafe fn(NonNull<Header>) -> bool,
    run_here: unsafe fn(NonNull<Header>, *mut ()),
    fail: unsafe fn(NonNull<Header>, TaskError) -> bool,
    expire: unsafe fn(NonNull<Header>, Duration),
    expire_queued: unsafe fn(NonNull<Header>, Duration),
    spin: unsafe fn(NonNull<Header>, Option<Instant>) -> bool,
    wanted: unsafe fn(NonNull<Header>),
    is_unwanted: unsafe fn(NonNull<Header>) -> bool,
    drop: unsafe fn(NonNull<Header>),
}

/// The part of a [`Block`] that is the same for all of them.
#[repr(C)]
struct Header {
    cell: Cell,
    vtable: &'static VTable,
}

/// # Safety
///
/// `header` is that of a `Block<C>` that the caller keeps alive for as long as the result is used.
unsafe fn typed<'a, C>(header: NonNull<Header>) -> &'a Task<C> {
    // SAFETY: `Task<C>` is a transparent `Block<C>`, whose address is that of its header.
    unsafe { header.cast::<Task<C>>().as_ref() }
}

/// The functions of one type of body. Each may only be called with a header of a block with such a body.
struct Functions<B>(PhantomData<B>);

/// A function that calls a method of the body.
macro_rules! forward {
    ($method:ident($($argument:ident: $type:ty),*)) => {
        // SAFETY: a table is only used with the blocks that it was made for.
        |header, $($argument),*| B::$method(unsafe { typed::<B::Content>(header) }, $($argument),*)
    };
}

impl<B: Body> Functions<B> {
    const TABLE: &'static VTable = &VTable {
        take: |header, output| {
            // SAFETY: a table is only used with the blocks that it was made for.
            let outcome = B::take(unsafe { typed::<B::Content>(header) });
            // SAFETY: the caller passes a place for this type.
            unsafe { output.cast::<Option<Stored<B::Output>>>().write(outcome) }
        },
        is_error: forward!(is_error()),
        error_kind: forward!(error_kind()),
        cancel: forward!(cancel()),
        kill: forward!(kill()),
        is_running: forward!(is_running()),
        pool: forward!(pool()),
        run: forward!(run()),
        run_here: |header, output| {
            // SAFETY: a table is only used with the blocks that it was made for.
            let outcome = B::run_here(unsafe { typed::<B::Content>(header) });
            // SAFETY: the caller passes a place for this type.
            unsafe { output.cast::<Option<Stored<B::Output>>>().write(outcome) }
        },
        fail: forward!(fail(error: TaskError)),
        expire: forward!(expire(ran_for: Duration)),
        expire_queued: forward!(expire_queued(waited: Duration)),
        spin: forward!(spin(deadline: Option<Instant>)),
        wanted: forward!(wanted()),
        is_unwanted: forward!(is_unwanted()),
        drop: |header| {
            // SAFETY: the last holder is gone, and the block came from a box.
            let mut block = unsafe { Box::from_raw(header.cast::<Block<B::Content>>().as_ptr()) };
            // What the task still has is dropped here, and its destructors are the user's code: a panic in one is reported by the
            // panic hook and goes no further.
            panic::contain(|| {
                let Block { cell, content, .. } = &mut *block;
                B::clear(content, cell);
                drop(block);
            });
        },
    };
}

/// A task whose type of content is known.
#[repr(transparent)]
pub(crate) struct Task<C>(Block<C>);

impl<C> Task<C> {
    pub(crate) fn cell(&self) -> &Cell {
        &self.0.cell
    }

    pub(crate) fn content(&self) -> &C {
        &self.0.content
    }
}

impl<C> Task<C> {
    /// Makes one more reference to this task.
    pub(crate) fn to_ref(&self) -> TaskRef {
        self.cell().hold();
        TaskRef { header: NonNull::from(self).cast() }
    }
}

/// A reference to a task of any type, which keeps it alive.
pub(crate) struct TaskRef {
    header: NonNull<Header>,
}

// SAFETY: a `Body` may be used from any thread, and so may the cell.
unsafe impl Send for TaskRef {}
// SAFETY: a `Body` may be used from any thread, and so may the cell.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Allocates a task: a reference for its queue, and its future.
    pub(crate) fn allocate<B: Body>(content: B::Content) -> (TypedRef<B::Content>, super::TaskFuture<B::Output>) {
        let block = Box::new(Block { cell: Cell::new(2), vtable: Functions::<B>::TABLE, content });
        let header = NonNull::from(Box::leak(block)).cast();
        (
            TypedRef { task: Self { header }, marker: PhantomData },
            super::TaskFuture::new(Handle { task: Self { header }, marker: PhantomData }),
        )
    }

    /// Turns the reference into a pointer, for callers that keep it in an atomic pointer.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<()> {
        ManuallyDrop::new(self).header.cast()
    }

    /// # Safety
    ///
    /// `raw` came from [`into_raw`](Self::into_raw), and each such pointer is passed here once.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        Self { header: raw.cast() }
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: this holder keeps the block alive.
        unsafe { self.header.as_ref() }
    }

    #[inline]
    pub(crate) fn cell(&self) -> &Cell {
        &self.header().cell
    }

    pub(crate) fn is_error(&self) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.is_error)(self.header) }
    }

    pub(crate) fn cancel(&self) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.cancel)(self.header) }
    }

    pub(crate) fn kill(&self) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.kill)(self.header) }
    }

    pub(crate) fn is_running(&self) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.is_running)(self.header) }
    }

    #[inline]
    pub(crate) fn pool(&self) -> u64 {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.pool)(self.header) }
    }

    /// Runs the task; returns whether it ran. A task that was cancelled or has started does not run.
    #[inline]
    pub(crate) fn run(&self) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.run)(self.header) }
    }

    /// For a thread that also has the handle: lets go of this reference, and claims the task if no other holder is left. See
    /// [`Cell::claim_alone`].
    #[inline]
    pub(crate) fn claim_alone(self) -> bool {
        let task = ManuallyDrop::new(self);
        task.cell().claim_alone()
    }

    /// Lets go of this reference unless it is the last one. Asking first and letting go afterwards could make it the last one
    /// meanwhile.
    #[inline]
    pub(crate) fn release_unless_last(self) -> Option<Self> {
        let task = ManuallyDrop::new(self);
        if task.cell().release_unless_last() { None } else { Some(ManuallyDrop::into_inner(task)) }
    }

    /// Lets go of this reference. If it was the last one, a thread that no other thread waits for drops what is left.
    pub(crate) fn drop_elsewhere(self) {
        let task = ManuallyDrop::new(self);
        if task.cell().release() {
            callbacks::drop_elsewhere(Last(task.header));
        }
    }

    pub(crate) fn fail(&self, error: TaskError) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.fail)(self.header, error) }
    }

    pub(crate) fn expire(&self, ran_for: Duration) {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.expire)(self.header, ran_for) }
    }

    pub(crate) fn expire_queued(&self, waited: Duration) {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.expire_queued)(self.header, waited) }
    }

    pub(crate) fn spin(&self, deadline: Option<Instant>) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.spin)(self.header, deadline) }
    }

    #[inline]
    pub(crate) fn is_unwanted(&self) -> bool {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.is_unwanted)(self.header) }
    }

    pub(crate) fn wanted(&self) {
        // SAFETY: the table is that of this block.
        unsafe { (self.header().vtable.wanted)(self.header) }
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        self.cell().hold();
        Self { header: self.header }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        if self.cell().release() {
            drop(Last(self.header));
        }
    }
}

/// A task without any holder.
struct Last(NonNull<Header>);

// SAFETY: a `Body` may be dropped on any thread, and so may the cell.
unsafe impl Send for Last {}

impl Drop for Last {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the block exists until the call below.
        let vtable = unsafe { self.0.as_ref() }.vtable;
        // SAFETY: there is no other holder of the block, and the table is its own.
        unsafe { (vtable.drop)(self.0) }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cell().fmt(f)
    }
}

/// A reference to a task whose type of content is known.
pub(crate) struct TypedRef<C> {
    task: TaskRef,
    marker: PhantomData<fn(C) -> C>,
}

impl<C> TypedRef<C> {
    pub(crate) fn erase(self) -> TaskRef {
        self.task
    }
}

impl<C> Clone for TypedRef<C> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), marker: PhantomData }
    }
}

impl<C> Deref for TypedRef<C> {
    type Target = Task<C>;

    fn deref(&self) -> &Task<C> {
        // SAFETY: the task was made with this type of content, and this reference keeps the block alive.
        unsafe { typed::<C>(self.task.header) }
    }
}

/// The reading end: a reference to a task with this type of output. Each task has one.
pub(crate) struct Handle<T> {
    task: TaskRef,
    marker: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// Runs the task on this thread; see [`Body::run_here`].
    #[inline]
    pub(crate) fn run_here(&self) -> Option<Stored<T>> {
        let mut outcome = None::<Stored<T>>;
        let place = (&raw mut outcome).cast();
        // SAFETY: the table is that of this block, whose output is a `T`.
        unsafe { (self.task.header().vtable.run_here)(self.task.header, place) };
        outcome
    }

    /// The kind of error that the task has failed with; `None` if it was taken, or cannot be seen.
    pub(crate) fn error_kind(&self) -> Option<&'static str> {
        // SAFETY: the table is that of this block.
        unsafe { (self.task.header().vtable.error_kind)(self.task.header) }
    }

    /// Takes the outcome of a task that is done; `None` if it was taken before.
    #[inline]
    pub(crate) fn take(&self) -> Option<Stored<T>> {
        let mut outcome = None::<Stored<T>>;
        let place = (&raw mut outcome).cast();
        // SAFETY: the table is that of this block, whose output is a `T`.
        unsafe { (self.task.header().vtable.take)(self.task.header, place) };
        outcome
    }
}

impl<T> Deref for Handle<T> {
    type Target = TaskRef;

    fn deref(&self) -> &TaskRef {
        &self.task
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{
        super::{Cell, InProcess, Stored},
        *,
    };

    #[test]
    fn a_task_has_32_bytes_its_owner_its_limits_and_one_place_for_work_and_outcome() {
        assert_eq!((size_of::<TaskRef>(), size_of::<Handle<String>>()), (8, 8));
        assert_eq!((size_of::<Cell>(), size_of::<Header>()), (24, 32));
        // The work has four words, the owner one, and the limits, which most tasks do not have, one.
        assert_eq!(size_of::<Block<InProcess<u64, [u64; 4], u64>>>(), 32 + 8 + 8 + 32);
        // The outcome is larger than the work.
        assert_eq!(
            size_of::<Block<InProcess<[u64; 6], (), u64>>>(),
            32 + 8 + 8 + size_of::<Option<Stored<[u64; 6]>>>()
        );
    }
}
