//! The frames that a worker sends beside its replies.

use crate::{
    error::{Cause, TaskError},
    process::{
        parent::{
            pool::PoolShared,
            state::State,
            workers::life::{Life, StartError},
        },
        wire::frame,
    },
    untrusted::Malformed,
};

/// Takes one frame from a worker, which is not trusted: a frame that violates the protocol is an error, and the end of that worker.
pub(super) fn take_frame(
    pool: &PoolShared,
    state: &mut State,
    number: u32,
    kind: u8,
    body: &[u8],
) -> Result<(), Malformed> {
    let worker = state.workers.get_mut(number).ok_or(Malformed)?;
    let text = || Cause::new(String::from_utf8_lossy(body));
    match (kind, worker.life()) {
        (frame::READY, Life::Starting { .. }) => {
            worker.note_ready();
            worker.is_announced = true;
            state.ledger.events.worker_started();
            state.workers.open_held();
            state.staffing.note_ready();
            pool.changed.notify_all();
            Ok(())
        }
        // It was told to go while it was starting.
        (frame::READY, Life::Leaving { .. }) => Ok(()),
        (frame::REFUSED, Life::Starting { .. }) => {
            worker.startup_error = Some(StartError::Lasting(TaskError::NoWorker { cause: text() }));
            Err(Malformed)
        }
        (frame::INITIALIZER_FAILED, Life::Starting { .. }) => {
            worker.startup_error = Some(StartError::Lasting(TaskError::InitializerFailed { cause: text() }));
            Err(Malformed)
        }
        // It ends by itself.
        (frame::SHORTAGE, Life::Starting { .. }) => {
            worker.startup_error = Some(StartError::Shortage(text()));
            Ok(())
        }
        (frame::SHORTAGE, Life::Leaving { .. }) => Ok(()),
        (frame::GROWN, _) => {
            worker.is_over_size_limit = true;
            Ok(())
        }
        (frame::OUT_OF_MEMORY, life) => {
            if matches!(life, Life::Starting { .. }) {
                let error = TaskError::InitializerFailed { cause: Cause::new(TaskError::MemoryLimit) };
                worker.startup_error = Some(StartError::Lasting(error));
            }
            worker.is_out_of_memory = true;
            Ok(())
        }
        _ => Err(Malformed),
    }
}
