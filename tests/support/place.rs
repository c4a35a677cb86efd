//! The kinds of threads that a program with an async runtime has.

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{self, JoinError, JoinHandle};

/// A kind of thread, or of call, on which code of a program with a tokio runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A task on a worker, as a handler of axum, or a plain `fn` that is Rocket's handler.
    Worker,
    /// A task on a runtime of one thread, as a handler of actix-web.
    OneThread,
    /// The future that `block_on` polls, as an async `main`.
    BlockOn,
    /// A future that `block_on` polls on a thread for blocking work.
    BlockOnNested,
    /// A thread for blocking work.
    SpawnBlocking,
    /// Blocking work on a worker that has handed its tasks over.
    BlockInPlace,
    /// A thread that knows of a runtime but runs no task.
    Entered,
    /// A thread that knows of no runtime.
    Plain,
}

impl Place {
    /// Where other tasks wait for this thread.
    pub const ASYNC: [Place; 4] =
        [Place::Worker, Place::OneThread, Place::BlockOn, Place::BlockOnNested];

    /// Where a thread may block.
    pub const BLOCKING: [Place; 4] =
        [Place::SpawnBlocking, Place::BlockInPlace, Place::Entered, Place::Plain];

    /// Runs the work there; called on a thread that knows of no runtime.
    ///
    /// # Panics
    ///
    /// If the work panics.
    pub fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Place::Worker => workers(|| task::spawn(async { work() })),
            Place::OneThread => {
                one_thread().block_on(async { task::spawn(async { work() }).await })
            }
            Place::BlockOn => Ok(one_thread().block_on(async { work() })),
            Place::BlockOnNested => {
                let nested = || Handle::current().block_on(async { work() });
                workers(|| task::spawn_blocking(nested))
            }
            Place::SpawnBlocking => workers(|| task::spawn_blocking(work)),
            Place::BlockInPlace => workers(|| task::spawn(async { task::block_in_place(work) })),
            Place::Entered => {
                let runtime = one_thread();
                let _entered = runtime.enter();
                Ok(work())
            }
            Place::Plain => Ok(work()),
        }
        .expect("the work does not panic")
    }
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
}

fn workers<T>(start: impl FnOnce() -> JoinHandle<T>) -> Result<T, JoinError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async { start().await })
}
