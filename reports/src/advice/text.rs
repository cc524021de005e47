//! The answer as lines for people.

use super::{Advice, Choice, serial_ns};
use crate::format::{bytes, duration, times};
use crate::model::Estimate;

impl Advice {
    /// The answer as lines for people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Choice { time_ns, speed_up, memory_bytes, .. } = &self.best;
        let range = |it: &Estimate, show: fn(f64) -> String| {
            if it.n == 0 {
                show(it.median)
            } else {
                format!("{} ({} to {})", show(it.median), show(it.low), show(it.high))
            }
        };
        let mut text = format!("take     {}\n", self.best.name());
        text.push_str(&format!("time     {}\n", range(time_ns, duration)));
        text.push_str(&format!(
            "serial   {}; {} as fast\n",
            duration(serial_ns(&self.question)),
            range(speed_up, times)
        ));
        let memory = memory_bytes.map_or_else(|| "not measured".to_owned(), bytes);
        text.push_str(&format!("memory   {memory}, if all arguments and results are there at the same time\n"));
        text.push_str(&format!("because  {}\n", self.because));
        text.push_str(&format!("code     {}\n", self.code));
        for (index, choice) in self.choices.iter().enumerate() {
            let head = if index == 0 { "choices  " } else { "         " };
            let time = range(&choice.time_ns, duration);
            text.push_str(&format!("{head}{}: {time}\n", choice.name()));
        }
        for (index, change) in self.changes.iter().enumerate() {
            text.push_str(&format!("{}{change}\n", if index == 0 { "changes  " } else { "         " }));
        }
        if let Some(why) = &self.cannot_tell {
            text.push_str(&format!("CAUTION  cannot tell: {why}\n"));
        }
        for outside in &self.outside {
            text.push_str(&format!("CAUTION  outside of what was measured: {outside}\n"));
        }
        for poor in &self.poor {
            text.push_str(&format!("CAUTION  do not rely on it: {poor}\n"));
        }
        text
    }
}
