//! The 32 claims: what each says, what is done to judge it, and by which rule.

use super::{
    cells::Key,
    judge::{cost, cpu, data, io, pool},
    taken::{Judgement, Taken},
};

/// One claim.
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) text: &'static str,
    pub(super) experiment: &'static str,
    pub(super) rule: &'static str,
    pub(super) how: How,
}

/// How a claim is judged.
pub(super) enum How {
    /// By a program that shows it.
    Scenario,
    /// By the times of cells.
    Cells(&'static [Key], fn(&Taken) -> Judgement),
    /// By what pools cost.
    Costs(fn(&Taken) -> Judgement),
}

impl Entry {
    pub(super) fn is_timed(&self) -> bool {
        !matches!(self.how, How::Scenario)
    }
}

const fn entry(number: u32, text: &'static str, [experiment, rule]: [&'static str; 2], how: How) -> Entry {
    Entry { number, text, experiment, rule, how }
}

/// All of them, in the order of the document.
pub(super) static ENTRIES: [Entry; 32] = [
    entry(
        1,
        "Thread and process executors have one interface, and can be exchanged",
        [
            "One generic program with submit, map, wait and as_completed on all six executors.",
            "Supported if every executor gives the answers of the serial one.",
        ],
        How::Scenario,
    ),
    entry(
        2,
        "Threads suit tasks that wait, processes those that compute",
        [
            "The same waits on 50 threads and 50 processes, the same computing on one worker a core of each.",
            "Both ratios threads / processes: supported if waiting is at most 1.05 and computing above; a condition if both are at \
             most 1.05; refuted if waiting is above.",
        ],
        How::Cells(cpu::KINDS_OF_WORK, cpu::kinds_of_work),
    ),
    entry(
        3,
        "Threads that wait do not hold each other up",
        [
            "100 tasks that wait 10 ms on 50 threads.",
            "Supported if they reach 80% of the ideal time, refuted if they do not.",
        ],
        How::Cells(io::OVERLAP, io::overlap),
    ),
    entry(
        4,
        "map gives results in the order of its input",
        [
            "40 items with random delays on 4 workers, on three pools.",
            "Supported if the order is exact although tasks end in another one.",
        ],
        How::Scenario,
    ),
    entry(
        5,
        "Leaving the scope of an executor cleans up, also after an error",
        [
            "Scopes that return, fail and panic, with tasks that fail; threads, processes and files before and after.",
            "Supported if nothing is left.",
        ],
        How::Scenario,
    ),
    entry(
        6,
        "submit returns at once",
        [
            "20,000 submits in a row while the queue grows, on threads and on processes.",
            "Supported if 99% take less than 100 µs on both, refuted if they take more on one.",
        ],
        How::Cells(pool::SUBMIT, pool::submit),
    ),
    entry(
        7,
        "as_completed yields tasks as they end, so that early results are used early",
        [
            "Three tasks that are let go one by one, on three pools; and the document's program at half its delays.",
            "Supported if each task comes as it ends while the others run, and the first long before that of map.",
        ],
        How::Scenario,
    ),
    entry(
        8,
        "wait can return at the first end, and the rest can be cancelled",
        [
            "Ten tasks on two workers, of which one is let go; all others are cancelled.",
            "Supported if one is done, and exactly those that were cancelled never run.",
        ],
        How::Scenario,
    ),
    entry(
        9,
        "done, cancel and callbacks tell and do what they say",
        [
            "A task in each state, with callbacks added before and after its end, on three pools.",
            "Supported if every answer fits the state and each callback is called exactly once.",
        ],
        How::Scenario,
    ),
    entry(
        10,
        "Database queries suit threads",
        [
            "SQLite queries on threads and processes, with one worker a core and with four.",
            "Ratios threads / processes: supported if both are at most 1.05, refuted if both are above, a condition if one is.",
        ],
        How::Cells(data::DATABASES, data::databases),
    ),
    entry(
        11,
        "Hashing files in chunks of 4 KiB calls for processes",
        [
            "64 files of 1 MiB on one worker a core, threads and processes; and in larger chunks.",
            "The ratio threads / processes: refuted if it is at most 1.05, supported if it is above.",
        ],
        How::Cells(data::HASHING, data::hashing),
    ),
    entry(
        12,
        "Processes are not for short tasks",
        [
            "4,000 tasks that do nothing on processes and threads, and the cost model's break-even.",
            "Supported if processes take more than 1.05 times as long, refuted if they do not.",
        ],
        How::Costs(cost::short_tasks),
    ),
    entry(
        13,
        "Processes are not for large arguments and results",
        [
            "Arguments of 128 KiB in a struct on both, and as SharedBytes.",
            "Refuted if processes take at most 1.05 times as long; a condition if SharedBytes takes less than half; else supported.",
        ],
        How::Costs(cost::large_data),
    ),
    entry(
        14,
        "Starting processes and sending values to them costs much",
        [
            "Pools that are built for two tasks, and tasks with 4 KiB, on both.",
            "Supported if processes take more than twice as long in both, refuted if in neither, a condition if in one.",
        ],
        How::Costs(cost::overhead),
    ),
    entry(
        15,
        "Tasks shorter than 0.1 s are not worth a process pool",
        [
            "Tasks of 0.4 to 20 ms on processes against a plain loop, on a pool that is there and on one built for them; the cost \
             model's break-even by number of tasks.",
            "Refuted if processes are faster by more than 1.05 in all three, supported if they are not even on a pool that is there, else \
             a condition.",
        ],
        How::Costs(cost::tenth_of_a_second),
    ),
    entry(
        16,
        "Threads do not compute in parallel",
        [
            "The same computing on one thread a core and serially.",
            "Refuted if the speed-up is above three quarters of the cores, supported if it is at most 1.1.",
        ],
        How::Cells(cpu::PARALLEL, cpu::parallel),
    ),
    entry(
        17,
        "Many computing threads are slower, because they switch",
        [
            "The same computing on 16 threads a core and on one.",
            "Supported if 16 take more than 1.05 times as long, refuted if they do not.",
        ],
        How::Cells(cpu::CROWD, cpu::crowd),
    ),
    entry(
        18,
        "Too few workers leave the machine idle",
        [
            "The same computing on one thread and on one a core.",
            "Supported if one thread takes more than (1 + cores) / 2 times as long, refuted if it takes at most 1.05 times.",
        ],
        How::Cells(cpu::TOO_FEW, cpu::too_few),
    ),
    entry(
        19,
        "Too many workers waste memory and switch more",
        [
            "Memory and context switches with 16 workers a core and with one.",
            "Supported if a further worker process takes memory and switches rise by more than 1.05, refuted if neither, a condition \
             if one.",
        ],
        How::Cells(pool::TOO_MANY, pool::too_many),
    ),
    entry(
        20,
        "Tasks that wait gain by more workers than cores",
        [
            "100 tasks that wait 10 ms on one thread a core and on 50.",
            "Supported if 50 are more than 1.5 times as fast, refuted if they are at most 1.05 times as fast.",
        ],
        How::Cells(io::MORE_WORKERS, io::more_workers),
    ),
    entry(
        21,
        "Tasks that compute gain nothing by more processes than cores",
        [
            "The same computing on four processes a core and on one.",
            "Supported if the gain is at most 1.05, refuted if it is above.",
        ],
        How::Cells(cpu::MORE_PROCESSES, cpu::more_processes),
    ),
    entry(
        22,
        "One worker for each core is a good default for computing",
        [
            "Computing, hashing and SQLite with one worker a core against one, four and 16 a core.",
            "Supported if it takes at most 1.05 times as long as each other number, refuted if it takes longer than one.",
        ],
        How::Cells(cpu::DEFAULT, cpu::default),
    ),
    entry(
        23,
        "About 50 workers suit requests over a network",
        [
            "Pages of a local server that answers after 20 ms and at once, on 50 threads and on one a core.",
            "Supported if 50 are more than 1.5 times as fast with both, a condition if with late answers only, else refuted.",
        ],
        How::Cells(io::FIFTY, io::fifty),
    ),
    entry(
        24,
        "Arguments and results must be serializable, and closures cannot be sent",
        [
            "Closures and local functions sent to a process, values that cannot be written, a closure that captures on a thread; \
             what is refused when a program is built is tested there.",
            "A condition if closures that capture nothing are sent and all else is refused; else it cannot be told.",
        ],
        How::Scenario,
    ),
    entry(
        25,
        "A configuration is shared by binding it to the function",
        [
            "100 tasks with one bound configuration on four executors; a worker counts how often it reads it.",
            "Supported if all answers are right and a worker process reads it once.",
        ],
        How::Scenario,
    ),
    entry(
        26,
        "An error of a task is seen where its result is asked for",
        [
            "Tasks that panic, by submit and by map, on four executors.",
            "Supported if only asking for that result gives the error, with message, place and stack.",
        ],
        How::Scenario,
    ),
    entry(
        27,
        "Nothing ends by itself: a task that hangs is waited for without end",
        [
            "A task that hangs, waited for with and without a limit, on three pools.",
            "Supported if only the wait with a limit ends, and gives the future back.",
        ],
        How::Scenario,
    ),
    entry(
        28,
        "Neither a time limit nor cancel stops a task that runs",
        [
            "cancel, kill and time limits on running tasks, on threads and in worker processes.",
            "A condition if they stop tasks in worker processes and none on threads, supported if they stop none there either.",
        ],
        How::Scenario,
    ),
    entry(
        29,
        "cancel keeps a waiting task from starting, and does nothing else",
        [
            "100 tasks behind one that runs are cancelled, and so is that one, on three pools.",
            "Supported if none of the 100 runs and the running one goes on.",
        ],
        How::Scenario,
    ),
    entry(
        30,
        "A task that can be interrupted has to look at an event",
        [
            "A cancel token in running tasks of three pools, and tasks that look at none.",
            "A condition if a thread's task needs the token and a worker process does not; else it cannot be told.",
        ],
        How::Scenario,
    ),
    entry(
        31,
        "A shutdown that waits ends all tasks and gives everything back",
        [
            "50 waiting tasks and a shutdown, on three pools; threads, processes and files before and after.",
            "Supported if all tasks have run, nothing is left, and no task is taken any more.",
        ],
        How::Scenario,
    ),
    entry(
        32,
        "A pool that is not shut down leaves threads or processes behind",
        [
            "Pools that are dropped, and programs that forget theirs and end, or are killed.",
            "Refuted if nothing is left within 2 s in every case, supported if something is.",
        ],
        How::Scenario,
    ),
];
