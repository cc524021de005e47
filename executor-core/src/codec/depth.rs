//! How deep a value may be nested, which the other side decides, and how much stack there is for it, which it does not.
//!
//! To write or to read a value takes stack for each level of nesting. A few levels are free. From then on, every [`STEP`] levels,
//! the stack that is left is measured. Where it runs low the rest is done on a stack of its own, which is as large as the thread's
//! was then, some times over; where that runs low as well, the value is nested too deep. A thread's own stack is the measure
//! because it has to drop the value afterwards, which recurses as well, with smaller frames.
//!
//! Where it is not known how much stack is left, as on platforms other than Linux, a value may have [`LEVELS_UNSEEN`] levels.

use super::error::CodecError;

#[cfg(target_os = "linux")]
use stacker as stack;
/// Here the stack cannot be measured, and there is no second one.
#[cfg(not(target_os = "linux"))]
mod stack {
    pub(super) fn remaining_stack() -> Option<usize> {
        None
    }

    pub(super) fn grow<R>(_: usize, step: impl FnOnce() -> R) -> R {
        step()
    }
}

/// So many levels are written or read between two looks at the stack. None may need more than a `STEP`th of [`RED_ZONE`].
const STEP: u8 = 8;
/// With less stack than this, the next levels are not begun on it.
const RED_ZONE: usize = 128 * 1024;
/// The stack for what the thread's own has no room for, in multiples of that. To drop a value, whose glue has small frames, takes
/// half of the stack that it takes to write it, and a fourth of what it takes to read it, or less; without optimizations, a
/// sixth and a tenth.
const TIMES_TO_WRITE: u8 = if cfg!(debug_assertions) { 5 } else { 1 };
const TIMES_TO_READ: u8 = if cfg!(debug_assertions) { 8 } else { 3 };
/// And never more, as a stack may be without limit.
const MOST: usize = 256 << 20;
/// As many as formats that are read by recursion usually take. With a [`STEP`]th of [`RED_ZONE`] each, they need 2 MiB at most,
/// which is what threads have by default.
const LEVELS_UNSEEN: u8 = 128;
/// The stack that they are given, where there can be a second one.
const STACK_UNSEEN: usize = 2 << 20;

/// How deep the value is that is being written or read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Depth {
    /// Levels until the stack is looked at.
    left: u8,
    /// This is the second stack.
    has_grown: bool,
    /// How large it is, in multiples of the first.
    times: u8,
    /// The stack that the thread had left at the first measurement, in pages of 4 KiB; 0 before that, and where it is not known.
    pages: u32,
}

/// How the next levels are written or read.
#[derive(Debug)]
enum Next {
    GoOn(Depth),
    /// On a new stack of so many bytes.
    Grow(usize, Depth),
    TooDeep,
}

impl Depth {
    pub(super) const TO_WRITE: Self = Self { left: STEP, has_grown: false, times: TIMES_TO_WRITE, pages: 0 };
    pub(super) const TO_READ: Self = Self { left: STEP, has_grown: false, times: TIMES_TO_READ, pages: 0 };

    /// One level deeper; `None` when it is time to [look](Self::look).
    #[inline(always)]
    pub(super) fn deeper(self) -> Option<Self> {
        let left = self.left.checked_sub(1)?;
        Some(Self { left, ..self })
    }

    #[cold]
    fn look(self, remaining: Option<usize>) -> Next {
        let Some(remaining) = remaining else {
            return if self.has_grown {
                Next::TooDeep
            } else {
                Next::Grow(STACK_UNSEEN, Self { left: LEVELS_UNSEEN - STEP, has_grown: true, ..self })
            };
        };
        let pages =
            if self.pages > 0 { self.pages } else { u32::try_from(remaining / 4096).unwrap_or(u32::MAX).max(1) };
        let on = Self { left: STEP, pages, ..self };
        if remaining >= RED_ZONE {
            Next::GoOn(on)
        } else if self.has_grown {
            Next::TooDeep
        } else {
            let bytes = (pages as usize).saturating_mul(4096 * usize::from(self.times)).clamp(2 * RED_ZONE, MOST);
            Next::Grow(bytes, Self { has_grown: true, ..on })
        }
    }
}

/// Does `step` one level deeper, wherever there is stack for it.
#[inline(always)]
pub(super) fn descend<R>(depth: Depth, step: impl FnOnce(Depth) -> Result<R, CodecError>) -> Result<R, CodecError> {
    match depth.deeper() {
        Some(depth) => step(depth),
        None => descend_far(depth, step),
    }
}

#[cold]
#[inline(never)]
fn descend_far<R>(depth: Depth, step: impl FnOnce(Depth) -> Result<R, CodecError>) -> Result<R, CodecError> {
    match depth.look(stack::remaining_stack()) {
        Next::GoOn(depth) => step(depth),
        Next::Grow(bytes, depth) => stack::grow(bytes, || step(depth)),
        Next::TooDeep => Err(too_deep(depth)),
    }
}

fn too_deep(depth: Depth) -> CodecError {
    let cure = "a type that is not nested as deep, such as a Vec of nodes that refer to each other by index";
    if depth.pages == 0 {
        return CodecError::new(format_args!("it is nested deeper than {LEVELS_UNSEEN} levels: use {cure}"));
    }
    CodecError::new(format_args!(
        "it is nested too deep for a thread with {} KiB of stack left, and {} times that beside it: use a thread with a \
         larger stack, or {cure}",
        u64::from(depth.pages) * 4,
        depth.times
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_knowing_the_stack_there_is_a_number_of_levels() {
        let mut depth = Depth::TO_READ;
        let mut levels = 0;
        loop {
            depth = match depth.deeper() {
                Some(deeper) => deeper,
                None => match depth.look(None) {
                    Next::GoOn(depth) | Next::Grow(_, depth) => depth,
                    Next::TooDeep => break,
                },
            };
            levels += 1;
        }
        // Every look is a level as well.
        assert_eq!(levels, u32::from(LEVELS_UNSEEN) + 1);
        assert!(too_deep(depth).to_string().contains("deeper than 128 levels"), "{}", too_deep(depth));
    }
}
