//! Programs that some tests start, to see how a program ends. They are this binary: `--program NAME EXECUTOR GATE`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use executor_core::{BuildError, Executor, ProcessPoolExecutor, Shutdown, StartMethod, TaskError};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::{
    gate::{self, Gate, Key},
    kinds::{Kind, LONG, Own, PROCESS_VARIANTS, Processes, Rayon, Threads},
    tasks::{signal, square},
};

/// The last line of a program's `main`, before what it owns is dropped.
const MAIN_ENDS: &str = "main ends";

pub(crate) fn run(name: &str, executor: &str, gate: &str) {
    match executor {
        "thread" => with_kind(name, Threads, gate),
        "rayon" => with_kind(name, Rayon, gate),
        "own" => with_kind(name, Own, gate),
        variant => {
            let variant = PROCESS_VARIANTS.iter().find(|known| known.name == variant).expect("no such executor");
            match name {
                "failing_initializers_spawned" => failing_initializers(Processes(variant), StartMethod::Spawn),
                "failing_initializers_forked" => failing_initializers(Processes(variant), StartMethod::ForkServer),
                "no_threads" => no_threads(Processes(variant)),
                "no_replacement" => no_replacement(Processes(variant)),
                _ => with_kind(name, Processes(variant), gate),
            }
        }
    }
}

fn with_kind(name: &str, kind: impl Kind, gate: &str) {
    let pool = kind.pool(1);
    let _detached = pool.submit(say_apple, gate.to_owned()).unwrap();
    match name {
        "drops" => {}
        "does_not_wait" => _ = pool.shutdown(Shutdown::Drain, Some(Duration::ZERO)),
        "cancels_and_does_not_wait" => _ = pool.shutdown(Shutdown::CancelQueued, Some(Duration::ZERO)),
        _ => panic!("no such program"),
    }
    println!("{MAIN_ENDS}");
}

fn say_apple(gate: Key) {
    gate::pass(gate);
    println!("apple");
}

/// Makes pools that cannot work, and looks whether they leave anything behind. In a program of its own, because other
/// tests open files and start processes. Whatever the variant's start method is, it is this one.
fn failing_initializers(kind: Processes, method: StartMethod) {
    let descriptors = || std::fs::read_dir("/dev/fd").unwrap().count();
    let shared_memory = || {
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
        mappings.lines().filter(|mapping| mapping.contains("memfd:executor-core")).count()
    };
    let once = || {
        let fail = |name: String| -> Result<(), String> { Err(name) };
        let builder = kind.builder(2).start_method(method).initializer(fail, "no disk".to_owned());
        let pool = builder.build().unwrap();
        let error = pool.submit(square, 1).unwrap().result().unwrap_err();
        assert!(matches!(error, TaskError::InitializerFailed { .. }), "{error}");
    };
    // Values that the library makes once and keeps.
    once();
    let before = (descriptors(), shared_memory());
    for _ in 0..10 {
        once();
    }
    assert_eq!((descriptors(), shared_memory()), before, "descriptors or shared memory are left behind");
    // Any child, also one that was not waited for: there must be none.
    let children = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(children.unwrap_err(), rustix::io::Errno::CHILD, "processes are left behind");
    println!("nothing is left");
}

/// Started with `RUST_MIN_STACK` so large that std cannot start a thread.
fn no_threads(kind: Processes) {
    let refused: Result<ProcessPoolExecutor, _> = kind.builder(1).build();
    assert!(matches!(refused.unwrap_err(), BuildError::System { .. }));
    println!("refused");
}

/// Loses its only worker when no other can be started any more, for lack of descriptors. In a program of its own, because
/// the limit is the process's.
fn no_replacement(kind: Processes) {
    // All descriptors below the later limit, so that none of them becomes free when the worker's are closed.
    let _plugs: Vec<_> = (0..DESCRIPTORS).map(|_| File::open("/dev/null").unwrap()).collect();
    let pool = kind.pool(1);
    let gate = Gate::new();
    let running = pool.submit(gate::pass, gate.key()).unwrap();
    let queued = pool.submit(square, 5).unwrap();
    let worker = gate.wait_for(1)[0];
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), ..limit }).unwrap();
    signal(worker, Signal::KILL);
    assert!(matches!(running.result_timeout(LONG).unwrap(), Err(TaskError::WorkerDied { .. })));
    for future in [queued, pool.submit(square, 6).unwrap()] {
        match future.result_timeout(LONG).unwrap() {
            Err(TaskError::NoWorker { cause }) => assert!(cause.to_string().contains("Too many open files"), "{cause}"),
            other => panic!("{other:?}"),
        }
    }
    // The gate needs some for its end.
    setrlimit(Resource::Nofile, limit).unwrap();
    println!("broken");
}

/// More than the supervisor waits for at once, which the system takes for a use of descriptors as well.
const DESCRIPTORS: u64 = 16;

/// A program that a test has started.
pub(crate) struct Program {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(name: &str, kind: impl Kind, gate: Option<&Gate>, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--program", name, kind.name(), &gate.map_or_else(String::new, Gate::key)])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().map(BufReader::new);
        Self { child, output }
    }

    /// Waits until its `main` is about to return.
    pub(crate) fn wait_for_the_end_of_main(&mut self) {
        let mut line = String::new();
        self.output.as_mut().unwrap().read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), MAIN_ENDS);
    }

    /// Waits for its end; returns whether it ended well, and what else it wrote.
    pub(crate) fn finish(mut self) -> (bool, String) {
        let mut output = self.output.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            // The receiver is gone when the program took too long.
            let _ = sender.send(rest);
        });
        let rest = receiver.recv_timeout(LONG).expect("the program does not end");
        reader.join().unwrap();
        (self.child.wait().unwrap().success(), rest)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
