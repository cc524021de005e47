//! Where a task keeps its work until it runs, and its outcome afterwards.

use std::mem::{ManuallyDrop, MaybeUninit};

use super::{cell::Cell, state::State};
use crate::{error::TaskError, sync::UnsafeCell};

/// A result as it is stored. The error is boxed, because errors are rare and large.
pub(crate) type Stored<T> = Result<T, Box<TaskError>>;

/// Has room for either; both begin at the same address.
#[repr(C)]
union Content<W, T> {
    work: ManuallyDrop<W>,
    _outcome: ManuallyDrop<Option<Stored<T>>>,
}

/// The work of a pending task and the outcome of a finished one, in the same place. Which of them is there follows from the
/// state of the cell:
///
/// | state | content | which thread may touch it |
/// |---|---|---|
/// | Pending | the work | none |
/// | Running, Settling, Cancelled | the work, until it is taken | the thread that entered this state |
/// | Finished, Failed | the outcome | the one with the handle |
pub(crate) struct Slot<W, T>(UnsafeCell<MaybeUninit<Content<W, T>>>);

// SAFETY: the content is handed from thread to thread, and no two threads use it at once.
unsafe impl<W: Send, T: Send> Send for Slot<W, T> {}
// SAFETY: the content is handed from thread to thread, and no two threads use it at once.
unsafe impl<W: Send, T: Send> Sync for Slot<W, T> {}

impl<W, T> Slot<W, T> {
    pub(crate) fn new(work: W) -> Self {
        Self(UnsafeCell::new(MaybeUninit::new(Content { work: ManuallyDrop::new(work) })))
    }

    /// Takes the work.
    ///
    /// # Safety
    ///
    /// The caller has taken the cell out of Pending, and calls this once.
    pub(crate) unsafe fn take_work(&self) -> W {
        self.0.with_mut(|content| {
            // SAFETY: a pending cell has its work, and the caller alone has the slot now.
            unsafe { content.cast::<W>().read() }
        })
    }

    /// Writes the outcome, before the cell is finished. A cancelled cell has none: it would not be dropped.
    ///
    /// # Safety
    ///
    /// The caller alone has the right to finish the cell, and the work was taken.
    pub(crate) unsafe fn put(&self, outcome: Stored<T>) {
        if State::of_outcome(&outcome) == State::Cancelled {
            return;
        }
        self.0.with_mut(|content| {
            // SAFETY: the caller alone has the slot, and there is nothing in it to be dropped.
            unsafe { content.cast::<Option<Stored<T>>>().write(Some(outcome)) };
        });
    }

    /// Takes the outcome of a cell that is done; `None` if it was taken before.
    ///
    /// # Safety
    ///
    /// The caller is the one handle of `cell`, to which this slot belongs.
    pub(crate) unsafe fn take_outcome(&self, cell: &Cell) -> Option<Stored<T>> {
        match cell.state() {
            State::Finished | State::Failed => self.0.with_mut(|content| {
                // SAFETY: a cell in these states has its outcome, and only its handle touches it.
                let outcome = unsafe { &mut *content.cast::<Option<Stored<T>>>() };
                outcome.take()
            }),
            State::Cancelled => Some(Err(Box::new(TaskError::Cancelled))),
            State::Pending | State::Running | State::Settling => None,
        }
    }

    /// The result of a cell that is finished.
    ///
    /// # Safety
    ///
    /// The cell is finished, and its outcome is not taken for as long as the result is used.
    pub(crate) unsafe fn peek(&self) -> Option<&T> {
        self.0.with(|content| {
            // SAFETY: a finished cell has its outcome, and the caller ensures that it is not taken meanwhile.
            let outcome = unsafe { &*content.cast::<Option<Stored<T>>>() };
            outcome.as_ref()?.as_ref().ok()
        })
    }

    /// Whether the outcome is there, and was not taken.
    ///
    /// # Safety
    ///
    /// No thread takes the outcome meanwhile.
    pub(crate) unsafe fn has_outcome(&self, cell: &Cell) -> bool {
        matches!(cell.state(), State::Finished | State::Failed)
            && self.0.with(|content| {
                // SAFETY: a cell in these states has its outcome, and the caller ensures that it is not taken meanwhile.
                let outcome = unsafe { &*content.cast::<Option<Stored<T>>>() };
                outcome.is_some()
            })
    }

    /// The kind of error that `cell` has failed with; `None` if it was taken.
    ///
    /// # Safety
    ///
    /// This slot belongs to `cell`, and no thread takes the outcome meanwhile.
    pub(crate) unsafe fn error_kind(&self, cell: &Cell) -> Option<&'static str> {
        if cell.state() != State::Failed {
            return None;
        }
        self.0.with(|content| {
            // SAFETY: a failed cell has its outcome, and the caller ensures that it is not taken meanwhile.
            match unsafe { &*content.cast::<Option<Stored<T>>>() } {
                Some(Err(error)) => Some(error.kind()),
                _ => None,
            }
        })
    }

    /// Drops what is left, at the end of the task.
    ///
    /// # Safety
    ///
    /// The caller is the only holder of `cell`, to which this slot belongs, and `has_work` says whether the work of a cell that is
    /// not done is still there.
    pub(crate) unsafe fn clear(&mut self, cell: &Cell, has_work: bool) {
        self.0.with_mut(|content| match cell.state() {
            State::Finished | State::Failed => {
                // SAFETY: a cell in these states has its outcome.
                unsafe { content.cast::<Option<Stored<T>>>().drop_in_place() };
            }
            State::Pending if has_work => {
                // SAFETY: a pending cell has its work.
                unsafe { content.cast::<W>().drop_in_place() };
            }
            _ => {}
        });
    }
}
