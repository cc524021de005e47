//! A task's code on the worker's side: decodes an argument, calls the function, and encodes the result.

use std::{any::Any, marker::PhantomData};

use crate::{
    codec::{self, Output},
    error::TaskError,
    panic,
    portable::{
        entry::{ENTRY_MAGIC, Entry},
        results,
    },
    role::end_if_copy,
    task::{Payload, Task},
};

/// The entry of a task, made once per type by the compiler.
pub(crate) struct EntryOf<F, A, M>(PhantomData<(F, A, M)>);

impl<F, A, M> EntryOf<F, A, M>
where
    F: Task<A, M>,
    A: Payload,
    F::Output: Payload,
{
    pub(crate) const ENTRY: &'static Entry = &Entry {
        magic: ENTRY_MAGIC,
        name: std::any::type_name::<(F, A, F::Output)>,
        restore: |bound| Ok(Box::new(F::restore(bound)?)),
        run: |task, argument, output| {
            let task = Self::task(task)?;
            panic::catch(|| Self::call(task, argument, output)).flatten()
        },
        run_items: |task, mut items, output, item_done| {
            let task = Self::task(task);
            loop {
                // One `catch_unwind` for many items: it is entered again only after an item has panicked.
                let mut start = output.len();
                let outcome = panic::catch(|| {
                    for item in items.by_ref() {
                        start = output.len();
                        results::begin(output);
                        let outcome = match &task {
                            Ok(task) => Self::call(task, item, output),
                            Err(error) => Err(error.clone()),
                        };
                        match outcome.and_then(|()| results::end(output, start)) {
                            Ok(()) => {}
                            Err(error) => results::put_error(output, start, &error),
                        }
                        item_done(output);
                    }
                });
                let Err(error) = outcome else { return };
                end_if_copy();
                results::put_error(output, start, &error);
                item_done(output);
            }
        },
    };

    fn task(task: &dyn Any) -> Result<&F, TaskError> {
        task.downcast_ref().ok_or_else(|| TaskError::decode("configuration", "it belongs to another function"))
    }

    /// A panic is the caller's to catch, and what was written before an error is the caller's to cut off.
    fn call(task: &F, argument: &[u8], output: &mut Output<'_>) -> Result<(), TaskError> {
        let argument = codec::decode_uncaught(argument);
        end_if_copy();
        let argument = argument.map_err(|cause| TaskError::decode("argument", cause))?;
        let result = task.call(argument);
        // The output may be memory that a copy of this worker shares with it.
        end_if_copy();
        codec::encode_into(&result, output).map_err(|cause| TaskError::encode("result", cause))
    }
}
