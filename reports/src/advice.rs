//! Advice: which executor, how many workers, and what it buys, by the cost model of a machine, and for the workloads of a run by
//! what was measured.
//!
//! `templates/advice.js` has the same arithmetic for the calculator of the page, and a test compares them: change both.

mod cases;
mod measured;
mod name;
#[cfg(test)]
mod tests;
mod text;

use serde::Serialize;

pub use cases::{Case, PAYLOADS, TASK_TIMES, TASKS, named, plain};
pub use measured::{Decision, decide, decisions};
pub(crate) use measured::{Told, told};

use crate::cost::{CostModel, Fit, Lane, Load, Term};
use crate::format::{bytes, duration, times};
use crate::model::{Estimate, SERIAL};
use name::{name, simplicity};

/// A worker that waits costs little, but not nothing: more are not advised.
const MOST_WAITING: u32 = 64;

/// The work of someone who asks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Question {
    /// How long a task takes when it runs alone.
    pub task_ns: f64,
    /// Number of tasks.
    pub tasks: u64,
    /// Bytes of an argument.
    pub payload: u64,
    /// Bytes of a result.
    pub result: u64,
    /// The way that the bytes travel.
    pub lane: Lane,
    /// The share of a task's time in which it waits and needs no core.
    pub waits: f64,
    /// Whether a task may crash or has to be stopped, so that it needs a process of its own.
    pub crashes: bool,
    /// Whether the pool is built for these tasks.
    pub cold: bool,
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Name of the executor.
    pub executor: String,
    /// Number of workers.
    pub workers: u32,
    /// The time of all tasks.
    pub time_ns: Estimate,
    /// How many times as fast as serial.
    pub speed_up: Estimate,
    /// Memory of the workers, and of all arguments and results at the same time; `None` where it was not measured.
    pub memory_bytes: Option<u64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The question.
    pub question: Question,
    /// What to take.
    pub best: Choice,
    /// Why not the fastest one, or what else was decisive.
    pub because: String,
    /// All choices, the fastest first.
    pub choices: Vec<Choice>,
    /// What would change the answer.
    pub changes: Vec<String>,
    /// How the question lies outside of what was measured; the answer is an extrapolation then.
    pub outside: Vec<String>,
    /// The models that predict poorly what they have not seen; the answer is not to be relied on then.
    pub poor: Vec<String>,
    /// Why model and samples cannot carry this answer, with the cure; the choice is only what the model leans to then.
    pub cannot_tell: Option<String>,
    /// The line that builds it.
    pub code: String,
}

/// The answer to a question; `None` where the model is empty, or has no executor that fits.
#[must_use]
pub fn advise(model: &CostModel, question: &Question) -> Option<Advice> {
    let (best, choices) = choose(model, question)?;
    let changes = changes(model, question, &best);
    let poor = poor(model, &choices);
    Some(Advice {
        question: *question,
        code: code(&best),
        because: because(model, question, &best, &choices),
        changes,
        outside: outside(model, question),
        cannot_tell: cannot_tell(model, question, &best, &choices, !poor.is_empty()),
        poor,
        best,
        choices,
    })
}

fn serial_ns(question: &Question) -> f64 {
    question.tasks as f64 * question.task_ns
}

/// The best choice, and all of them, the fastest first.
fn choose(model: &CostModel, question: &Question) -> Option<(Choice, Vec<Choice>)> {
    let exact = |value: f64| Estimate { median: value, low: value, high: value, confidence: 1.0, n: 0 };
    let mut choices: Vec<Choice> = model.fits.iter().flat_map(|fit| of_fit(model, fit, question)).collect();
    choices.retain(|choice| !question.crashes || choice.executor == "process");
    if choices.is_empty() {
        return None;
    }
    if !question.crashes {
        choices.push(Choice {
            executor: SERIAL.to_owned(),
            workers: 1,
            time_ns: exact(serial_ns(question)),
            speed_up: exact(1.0),
            memory_bytes: Some(question.payload.saturating_add(question.result)),
        });
    }
    choices.sort_by(|a, b| a.time_ns.median.total_cmp(&b.time_ns.median));
    let fastest = choices[0].clone();
    // What may be as fast: the simplest of these, and of the same kind the fewest workers.
    let ties = |choice: &&Choice| {
        choice.time_ns.low <= fastest.time_ns.median && choice.time_ns.median <= fastest.time_ns.high
    };
    let simplest = |choice: &&Choice| (simplicity(&choice.executor), choice.workers);
    let best = choices.iter().filter(ties).min_by_key(simplest).cloned().unwrap_or(fastest);
    Some((best, choices))
}

/// Why the best choice is the best, and what the other kind of pool would cost.
fn because(model: &CostModel, question: &Question, best: &Choice, choices: &[Choice]) -> String {
    if question.crashes {
        return "A task that crashes ends its process: with threads that is the whole program.".to_owned();
    }
    let fastest = &choices[0];
    let mut text = if best == fastest {
        "It is the fastest by the model.".to_owned()
    } else {
        format!(
            "{} is not faster beyond the model's uncertainty ({}), and this is simpler.",
            fastest.name(),
            duration(fastest.time_ns.median)
        )
    };
    let other = if best.executor == "process" { "thread" } else { "process" };
    let ratio = |rival: &Choice| rival.time_ns.median / best.time_ns.median;
    // Nothing is a multiple of no time.
    let is_rival = |rival: &&Choice| rival.executor == other && ratio(rival).is_finite();
    if let Some(rival) = choices.iter().find(is_rival) {
        text.push_str(&format!(" On {} it would take {} the time", rival.name(), times(ratio(rival))));
        if let Some(cost) = task_cost(model, question, rival) {
            let bytes = if question.payload > 0 || question.result > 0 { " with its bytes" } else { "" };
            let own = task_cost(model, question, best)
                .map_or_else(String::new, |cost| format!(", against {} on {}", duration(cost), best.name()));
            text.push_str(&format!(": there a task{bytes} costs {} beyond its work{own}", duration(cost)));
        }
        text.push('.');
    }
    text
}

/// What a task costs beyond its work; `None` for serial, and for numbers of workers that were not measured.
fn task_cost(model: &CostModel, question: &Question, choice: &Choice) -> Option<f64> {
    let of_choice = |fit: &&Fit| fit.executor == choice.executor && fit.workers == choice.workers;
    let fit = model.fits.iter().find(of_choice)?;
    let task = fit.coefficient(Term::Task);
    let of = |size: u64, once, each| match size {
        0 => 0.0,
        size => fit.coefficient(once) + fit.coefficient(each) * size as f64,
    };
    let lane = question.lane;
    let bytes_in = of(question.payload, Term::Lane(lane), Term::ByteIn(lane));
    Some(task + bytes_in + of(question.result, Term::LaneOut(lane), Term::ByteOut(lane)))
}

/// Why the answer cannot be told, with the cure: it lies beyond what was measured, or the model predicts poorly and its residuals
/// are larger than what the best choice gains or loses against serial.
fn cannot_tell(
    model: &CostModel,
    question: &Question,
    best: &Choice,
    choices: &[Choice],
    is_poor: bool,
) -> Option<String> {
    if let Some(first) = beyond(model, question).into_iter().next() {
        return Some(format!("{first}: measure the work itself, with `lab sweep`"));
    }
    let is_slower = |choice: &Choice| choice.executor == SERIAL || choice.time_ns.low > best.time_ns.median;
    let is_decided = if best.executor == SERIAL { choices.iter().all(is_slower) } else { best.speed_up.low > 1.0 };
    // Where tasks crash there is nothing to choose from.
    (is_poor && !question.crashes && !is_decided).then(|| {
        "the cost model predicts poorly in this run, and its error is larger than the difference: repeat the run on an idle machine"
            .to_owned()
    })
}

/// The choices of one fit: its own workers, and for tasks that wait more of them.
fn of_fit(model: &CostModel, fit: &Fit, question: &Question) -> Vec<Choice> {
    let mut workers = vec![fit.workers];
    let most = model.fits.iter().filter(|other| other.executor == fit.executor).map(|other| other.workers).max();
    if question.waits > 0.0 && most == Some(fit.workers) {
        // As many as keep the cores busy: cores x (1 + wait / compute).
        let busy = f64::from(fit.width) / (1.0 - question.waits).max(1.0 / f64::from(MOST_WAITING));
        let wanted = (busy.round() as u32).min(MOST_WAITING).min(u32::try_from(question.tasks).unwrap_or(u32::MAX));
        workers.extend((wanted > fit.workers).then_some(wanted));
    }
    workers.into_iter().map(|workers| choice(fit, workers, question)).collect()
}

fn choice(fit: &Fit, workers: u32, question: &Question) -> Choice {
    let tasks = question.tasks as f64;
    let has_bytes = question.payload > 0 || question.result > 0;
    let load = Load {
        tasks,
        work_ns: serial_ns(question) * (1.0 - question.waits),
        lane: has_bytes.then_some(question.lane),
        bytes_in: question.payload as f64,
        bytes_out: question.result as f64,
        cold: question.cold,
    };
    let mut time = fit.predict(&load);
    // Workers that were not measured: a cold start takes longer in proportion.
    let more = f64::from(workers) / f64::from(fit.workers) - 1.0;
    let mut further = fit.coefficient(Term::ColdStart) * load.amount(Term::ColdStart, fit.width) * more.max(0.0);
    if question.waits > 0.0 {
        // Tasks of which each takes its whole time, in rounds of all workers; the cores may need longer for their part.
        let rounds = (tasks / f64::from(workers.max(1))).ceil() * question.task_ns;
        let computing = fit.coefficient(Term::Work) * load.amount(Term::Work, fit.width);
        further += (rounds - computing).max(0.0);
    }
    time = Estimate { median: time.median + further, low: time.low + further, high: time.high + further, ..time };
    let serial = serial_ns(question);
    let speed_up = Estimate {
        median: serial / time.median,
        low: serial / time.high,
        // A time of which the interval reaches 0 says nothing of its upper end.
        high: serial / time.low.max(1.0),
        ..time
    };
    let held = question.tasks.saturating_mul(question.payload.saturating_add(question.result));
    let memory = fit.memory_per_worker.map(|each| each.saturating_mul(workers.into()).saturating_add(held));
    Choice { executor: fit.executor.clone(), workers, time_ns: time, speed_up, memory_bytes: memory }
}

/// Which change of the question changes the executor, tried in steps of two.
fn changes(model: &CostModel, question: &Question, best: &Choice) -> Vec<String> {
    let mut found = Vec::new();
    let mut scan = |vary: &dyn Fn(f64) -> Question, tell: &dyn Fn(&Question) -> String| {
        for direction in [2.0_f64, 0.5] {
            let first = (1..=20).find_map(|step| {
                let other = vary(direction.powi(step));
                let (choice, _) = choose(model, &other)?;
                (choice.executor != best.executor && outside(model, &other).is_empty()).then_some((other, choice))
            });
            if let Some((other, choice)) = first {
                found.push(format!("With {}: {}.", tell(&other), choice.name()));
            }
        }
    };
    scan(&|factor| Question { task_ns: question.task_ns * factor, ..*question }, &|other| {
        format!("tasks of {}", duration(other.task_ns))
    });
    scan(&|factor| Question { tasks: ((question.tasks as f64 * factor) as u64).max(1), ..*question }, &|other| {
        format!("{} tasks", crate::format::count(other.tasks))
    });
    if question.payload > 0 {
        scan(&|factor| Question { payload: (question.payload as f64 * factor) as u64, ..*question }, &|other| {
            format!("arguments of {}", bytes(other.payload))
        });
    }
    if !question.crashes && best.executor != "process" {
        found.push("Where tasks may crash, leak or must be stopped: process.".to_owned());
    }
    if question.lane == Lane::Nested && best.executor == "process" && question.payload.max(question.result) >= 4096 {
        found.push(
            "Bytes that are the whole argument, as a Vec<u8> or SharedBytes, cost less than nested ones.".to_owned(),
        );
    }
    found
}

/// How the question lies outside of what was measured.
fn outside(model: &CostModel, question: &Question) -> Vec<String> {
    let mut found = beyond(model, question);
    if question.waits > 0.0 {
        found.push(
            "waiting was not measured: its overlap is computed, and so is the cost of workers beyond those measured"
                .to_owned(),
        );
    }
    found
}

/// How it lies further away from what was measured than the terms of the model are trusted.
fn beyond(model: &CostModel, question: &Question) -> Vec<String> {
    let loads = || model.fits.iter().flat_map(|fit| &fit.points).map(|point| &point.load);
    let most = |value: fn(&Load) -> f64| loads().map(value).fold(0.0, f64::max);
    let mut found = Vec::new();
    let mut check = |value: f64, most: f64, text: String| {
        // Terms are straight lines: a tenfold is as far as they are trusted.
        if value > 10.0 * most {
            found.push(text);
        }
    };
    let longest = most(|load| load.work_ns / load.tasks.max(1.0));
    let (task, limit) = (duration(question.task_ns), duration(longest));
    // Longer work than that is work alone, which needs no measurement of the executor.
    check(
        question.task_ns,
        1000.0 * longest,
        format!("tasks of {task} are far longer than those that were measured ({limit})"),
    );
    let tasks = most(|load| load.tasks);
    check(
        question.tasks as f64,
        1000.0 * tasks,
        format!("{} tasks are far more than were measured ({tasks})", question.tasks),
    );
    let (size, largest) = (question.payload, most(|load| load.bytes_in));
    check(
        size as f64,
        largest,
        format!("arguments of {} are larger than those that were measured ({})", bytes(size), bytes(largest as u64)),
    );
    let (size, largest) = (question.result, most(|load| load.bytes_out));
    check(
        size as f64,
        largest,
        format!("results of {} are larger than those that were measured ({})", bytes(size), bytes(largest as u64)),
    );
    found
}

/// Of the executors to choose from, those whose model predicts poorly.
fn poor(model: &CostModel, choices: &[Choice]) -> Vec<String> {
    let is_choice = |fit: &&Fit| choices.iter().any(|choice| choice.executor == fit.executor);
    let told = model.fits.iter().filter(|fit| fit.is_poor()).filter(is_choice).map(|fit| {
        let (within, all) = fit.predicted_within(0.15);
        format!(
            "{} with {} workers: of the batches that the model has not seen it predicts {within} of {all} within 15%",
            fit.executor, fit.workers
        )
    });
    told.collect()
}

fn code(best: &Choice) -> String {
    match best.executor.as_str() {
        "thread" => format!("let pool = executor_core::ThreadPoolExecutor::new({})?;", best.workers),
        "process" => format!("let pool = executor_core::ProcessPoolExecutor::new({})?;", best.workers),
        "rayon" => {
            format!("let pool = executor_core::RayonExecutor::builder().max_workers({}).build()?;", best.workers)
        }
        _ => "let pool = executor_core::SerialExecutor::new();".to_owned(),
    }
}

impl Choice {
    /// The executor and its workers, in words: `thread with 2 workers`.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.executor, self.workers)
    }
}
