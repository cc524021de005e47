//! CPython's own `concurrent.futures`, where there is a Python.

use std::{process::Command, time::Duration};

use reports::model::OverheadGroup;

use crate::{
    experiments::overhead::{Effort, Figures, Subject},
    runner::child,
};

const SCRIPT: &str = include_str!("peer.py");

pub(super) fn subjects(workers: usize) -> Vec<Subject> {
    let version = Command::new("python3").arg("--version").output().ok().filter(|output| output.status.success());
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().replace("Python", "CPython"));
    ["ThreadPoolExecutor", "ProcessPoolExecutor"]
        .into_iter()
        .map(|class| {
            let found = version.is_some();
            Subject {
                name: format!("{} {class}", version.as_deref().unwrap_or("CPython")),
                group: OverheadGroup::Peer,
                note: "measured by Python's own clock".to_owned(),
                measure: Box::new(move |effort| {
                    if found { measure(class, workers, effort) } else { Err("there is no python3 here".to_owned()) }
                }),
            }
        })
        .collect()
}

fn measure(class: &str, workers: usize, effort: Effort) -> Result<Figures, String> {
    let mut command = Command::new("python3");
    let counts = [effort.tasks / 20, effort.round_trips / 4, effort.payloads].map(|count| count.to_string());
    command.args(["-", class, &workers.to_string()]).args(counts);
    let output = child::run_command(command, SCRIPT.as_bytes(), Duration::from_secs(60))?;
    serde_json::from_slice(&output).map_err(|error| error.to_string())
}
