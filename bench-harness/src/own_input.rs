//! The user's own input, as `lab sweep` takes it: the options of all workloads, of which those of the named one apply.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use crate::{
    error::LabError,
    registry::{AnyWorkload, Registry},
};

/// How this program was started, for commands that repeat a run.
pub(crate) fn program() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    match Path::new(&program).file_stem() {
        Some(name) if name != "lab" => quoted(&workloads::shown(program.as_ref())),
        _ => "cargo lab".to_owned(),
    }
}

/// The options of all workloads.
pub(crate) fn add_options(registry: &Registry, command: Command) -> Command {
    // Each workload would put the text about its options there.
    let about = command.get_about().cloned().unwrap_or_default();
    registry.iter().fold(command, |command, workload| workload.own_options(command)).about(about)
}

/// The options of one workload.
fn options_of(workload: &dyn AnyWorkload) -> Vec<Arg> {
    workload.own_options(Command::new("own")).get_arguments().cloned().collect()
}

fn was_given(option: &Arg, matches: &ArgMatches) -> bool {
    matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
}

/// Paths or a command line as on the command line, where they come last.
pub(crate) fn paths(workload: &dyn AnyWorkload, paths: &[PathBuf]) -> String {
    let are_words = workload.starts_programs() || paths.iter().any(|path| path.to_string_lossy().starts_with('-'));
    let separator = if are_words { " --" } else { "" };
    paths.iter().fold(separator.to_owned(), |words, path| words + " " + &quoted(&workloads::shown(path)))
}

/// The options as on the command line, with a space before each.
pub(crate) fn words(registry: &Registry, matches: &ArgMatches) -> String {
    let mut words = String::new();
    for option in registry.iter().flat_map(options_of).filter(|option| was_given(option, matches)) {
        let name = format!(" --{}", option.get_long().unwrap_or_default());
        let values = matches.get_raw(option.get_id().as_str()).into_iter().flatten();
        let values: Vec<String> = values.map(|value| quoted(&workloads::shown(value.as_ref()))).collect();
        match option.get_action() {
            ArgAction::SetTrue => words.push_str(&name),
            // An option that takes one value is repeated, since a second value would be read as a path.
            _ if option.get_num_args().is_none_or(|count| count.max_values() == 1) => {
                values.iter().for_each(|value| words.push_str(&format!("{name} {value}")));
            }
            _ => words.push_str(&format!("{name} {}", values.join(" "))),
        }
    }
    words
}

/// Refuses options of other workloads than `own`, which would change nothing.
pub(crate) fn refuse_others(
    registry: &Registry,
    own: &dyn AnyWorkload,
    paths: &[PathBuf],
    matches: &ArgMatches,
) -> Result<(), LabError> {
    let name = own.name();
    if !paths.is_empty() && !own.takes_paths() && !own.starts_programs() {
        let takers: Vec<&str> = registry.iter().filter(|other| other.takes_paths()).map(AnyWorkload::name).collect();
        let cure = match own.instead_of_paths() {
            "" => String::new(),
            cure => format!("; {cure}"),
        };
        return Err(LabError::Usage(format!(
            "paths are for {}, and this is a sweep of {name}{cure}",
            takers.join(" and ")
        )));
    }
    for other in registry.iter().filter(|other| other.name() != name) {
        if let Some(option) = options_of(other).iter().find(|option| was_given(option, matches)) {
            let (option, other) = (option.get_long().unwrap_or_default(), other.name());
            return Err(LabError::Usage(format!("--{option} is for {other}, and this is a sweep of {name}")));
        }
    }
    Ok(())
}

/// Quotes a word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-=:@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_repeats_a_sweep_is_one_for_a_shell() {
        let registry = Registry::built_in();
        let command = add_options(&registry, Command::new("sweep"));
        let matches = command
            .try_get_matches_from(["sweep", "--chunk-size", "7", "--path", "a b", "it's", "plain/x.rs"])
            .unwrap();
        assert_eq!(words(&registry, &matches), r" --path 'a b' 'it'\''s' plain/x.rs --chunk-size 7");
        let paths_of = |name: &str, given: &[&str]| {
            paths(registry.find(name).unwrap(), &given.iter().map(Into::into).collect::<Vec<_>>())
        };
        assert_eq!(paths_of("sha256", &["x y"]), " 'x y'");
        assert_eq!(paths_of("sha256", &["-x"]), " -- -x");
        assert_eq!(paths_of("command", &["gzip", "{}"]), " -- gzip '{}'");
        let refuse = |name: &str| refuse_others(&registry, registry.find(name).unwrap(), &[], &matches);
        assert_eq!(refuse("sqlite").unwrap_err().to_string(), "--path is for sha256, and this is a sweep of sqlite");
        refuse("sha256").unwrap();
    }
}
