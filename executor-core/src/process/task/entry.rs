//! [`Entry`]: a task's code on the worker's side.

use std::{any::Any, fmt, marker::PhantomData};

use crate::{
    codec::{self, Output},
    error::TaskError,
    panic,
    process::wire::{arguments::Items, results},
    task::{Payload, Task},
};

/// Found by its address, called with bytes.
pub(crate) struct Entry {
    /// Tells an entry from whatever else may stand at an address.
    pub(crate) magic: u64,
    pub(crate) name: fn() -> &'static str,
    pub(crate) restore: Restore,
    /// Decodes the argument, runs the task, writes the encoded result.
    pub(crate) run: Run,
    /// Does the same with each item of a chunk, and calls the last function after each.
    pub(crate) run_items: RunItems,
}

type Restore = fn(&[u8]) -> Result<Box<dyn Any + Send>, TaskError>;
type Run = fn(&dyn Any, &[u8], &mut Output<'_>) -> Result<(), TaskError>;
type RunItems = for<'o> fn(&dyn Any, Items<'_>, &mut Output<'o>, ItemDone<'_, 'o>);
type ItemDone<'a, 'o> = &'a mut dyn FnMut(&mut Output<'o>);

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((self.name)())
    }
}

pub(crate) const ENTRY_MAGIC: u64 = 0x6578_6563_7461_736b;

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
                // One net for many items: it is put up again only after one has fallen.
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
        let argument = codec::decode_uncaught(argument).map_err(|cause| TaskError::decode("argument", cause))?;
        let result = task.call(argument);
        codec::encode_into(&result, output).map_err(|cause| TaskError::encode("result", cause))
    }
}
