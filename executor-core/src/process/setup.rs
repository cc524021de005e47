//! Initializers and preloads: functions that run in a worker before its first task.

use std::marker::PhantomData;

use super::worker::entry::EntryOf;
use crate::{
    codec::{self, limits::MAX_ENCODED},
    error::{Cause, TaskError},
    initializer::InitializerResult,
    portable::{call::Call, function_id::FunctionId},
    task::{Payload, Task},
};

/// Encodes an initializer or a preload.
pub(super) fn initializer<F, A, M>(task: F, args: A) -> Result<Call, TaskError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: InitializerResult,
    M: 'static,
{
    const { F::PORTABLE };
    let task = Initializer { task, marker: PhantomData };
    plain_call::<Initializer<F, (A, M)>, A, InitializerMarker>(&task, &args)
}

/// A task whose output is turned into something that can travel: nothing, or an error's text.
struct Initializer<F, M> {
    task: F,
    marker: PhantomData<fn() -> M>,
}

struct InitializerMarker;

impl<F: Clone, M> Clone for Initializer<F, M> {
    fn clone(&self) -> Self {
        Self { task: self.task.clone(), marker: PhantomData }
    }
}

impl<F, A, M> Task<A, InitializerMarker> for Initializer<F, (A, M)>
where
    F: Task<A, M>,
    A: 'static,
    M: 'static,
    F::Output: InitializerResult,
{
    type Output = Result<(), Cause>;

    const PORTABLE: () = F::PORTABLE;

    fn call(&self, args: A) -> Self::Output {
        self.task.call(args).into_cause()
    }

    fn bound_plain(&self) -> Option<Result<Vec<u8>, TaskError>> {
        self.task.bound_plain()
    }

    fn restore(bound: &[u8]) -> Result<Self, TaskError> {
        Ok(Self { task: F::restore(bound)?, marker: PhantomData })
    }
}

/// An initializer or a preload: function, configuration and argument. They run before their worker is given any shared memory,
/// so neither refers to any.
fn plain_call<F, A, M>(task: &F, argument: &A) -> Result<Call, TaskError>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
{
    let bound = task.bound_plain().transpose()?.unwrap_or_default();
    let mut bytes = Vec::new();
    codec::encode_without_references(argument, &mut bytes).map_err(|cause| TaskError::encode("argument", cause))?;
    for (what, bytes) in [("configuration", &bound), ("argument", &bytes)] {
        if bytes.len() > MAX_ENCODED {
            return Err(TaskError::encode(what, "it is longer than 512 MiB: pass the path of a file with it"));
        }
    }
    Ok((FunctionId::of(EntryOf::<F, A, M>::ENTRY)?, bound, bytes))
}
