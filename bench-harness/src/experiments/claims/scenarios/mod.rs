//! Real programs on the executors, each in a process of its own, for the claims that are about what happens and not about how
//! long it takes.

mod futures;
mod lifetime;
mod order;
mod probe;
mod running;
mod seen;
mod sending;
mod submit;
mod tasks;

use serde_json::Value as Json;

pub(crate) use self::{
    probe::ClaimProbe,
    seen::{Seen, Value},
};

type Scenario = fn() -> Result<Seen, String>;

/// The scenarios by the number of their claim.
const SCENARIOS: [(u32, Scenario); 15] = [
    (1, order::one_interface),
    (4, order::map_order),
    (5, lifetime::scope),
    (7, order::as_they_finish),
    (8, order::first_completed),
    (9, futures::states),
    (24, sending::portable),
    (25, sending::bound),
    (26, futures::errors),
    (27, running::hang),
    (28, running::stop_running),
    (29, running::cancel_waiting),
    (30, running::cooperate),
    (31, lifetime::shutdown),
    (32, lifetime::forget),
];

/// The claims that have one.
#[cfg(test)]
pub(super) fn numbers() -> impl Iterator<Item = u32> {
    SCENARIOS.iter().map(|(number, _)| *number)
}

/// Does what a process was started for; the answer as JSON, or why there is none.
pub(crate) fn answer(probe: ClaimProbe) -> Result<Json, String> {
    let json = |error: serde_json::Error| error.to_string();
    match probe {
        ClaimProbe::Scenario(number) => {
            let found = SCENARIOS.iter().find(|(of, _)| *of == number);
            let (_, scenario) = found.ok_or_else(|| format!("claim {number} has no scenario"))?;
            serde_json::to_value(scenario()?).map_err(json)
        }
        ClaimProbe::Submit(kind, workers) => serde_json::to_value(submit::slow_submit(kind, workers)?).map_err(json),
        ClaimProbe::Forget(how) => lifetime::forgetful(how).map(|()| Json::Null),
    }
}
