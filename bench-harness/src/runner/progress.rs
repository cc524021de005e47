//! The progress of the measuring: a bar with the time left, or plain lines where standard error is no terminal.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{child, sampler::Sampler};
use crate::{error::LabError, tell::tell};

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    start: Instant,
    told: u64,
    stop: Arc<AtomicBool>,
    /// Takes the samples.
    pub(crate) sampler: Sampler,
}

impl Progress {
    /// Also takes over Ctrl-C: from here on the first one asks for an early end, and a second one ends everything at once.
    pub(crate) fn new(total: u64) -> Result<Self, LabError> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        ctrlc::set_handler(move || {
            // ORDERING: the flag publishes no other data.
            if asked.swap(true, Ordering::Relaxed) {
                tell!("\nstopped; nothing is kept");
                child::exit_at_once(130);
            }
            tell!("\nstopping after this sample; what was measured is kept (Ctrl-C again: stop now, keep nothing)");
        })?;
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} samples, {eta} left  {msg}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Ok(Self { bar, total, done: 0, start: Instant::now(), told: 0, stop, sampler: Sampler::new(total) })
    }

    /// Whether the user has asked for an early end.
    pub(crate) fn interrupted(&self) -> bool {
        // ORDERING: the flag publishes no other data.
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&mut self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    pub(crate) fn step(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
            return;
        }
        let tenth = self.done * 10 / self.total.max(1);
        if tenth > self.told {
            self.told = tenth;
            let left = self.start.elapsed().mul_f64((self.total - self.done) as f64 / self.done as f64);
            tell!("{}/{} samples, {} s left", self.done, self.total, left.as_secs());
        }
    }

    pub(crate) fn end(&self) -> Duration {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        self.start.elapsed()
    }
}
