//! The workload: a list and a command.

use std::{
    any::Any,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgMatches, Args, Command};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    item::{Finished, Item},
    program, run,
    spec::Spec,
    stage,
};
use crate::{
    Digest, ItemError, PrepareError, Prepared,
    answer::hex,
    paths, read_list, shown,
    workload::{Format, ItemName, JobSize, Place, Shown, Start, Workload, parsed},
};

/// The user's list.
#[derive(Debug, Clone, Default, Args)]
struct Options {
    /// A file with one task per line, or `-` for standard input; entries may also be separated by NUL bytes. In the words of the
    /// command, `{}` is the entry, `{.}` the entry without its extension, `{/}` without its folder, `{/.}` without both, `{//}` its
    /// folder, `{#}` its number, and `{{}}` a pair of braces. Without any of them the entry is the last word.
    #[arg(long, value_name = "LIST")]
    inputs: Option<PathBuf>,
    /// A file that each command writes, such as '{}.png', relative to the folder of its own in which it starts; it must be there
    /// afterwards, and be the same in all runs. May be repeated.
    #[arg(long, value_name = "FILE")]
    output: Vec<PathBuf>,
    /// Give each command a copy of its input file and not a link to it: for commands that refuse links or change their input.
    #[arg(long)]
    copy: bool,
    /// Compare the output files only, and not the standard output: for commands that print times or random names.
    #[arg(long)]
    ignore_stdout: bool,
    /// The longest that one command may take, in seconds [default: 60].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
}

impl Options {
    /// `ends_run` is whether a command that takes too long ends the run.
    fn spec(self, command: &[PathBuf], ends_run: bool) -> Result<Spec, PrepareError> {
        let Some(list) = &self.inputs else {
            let reason = "name the list of inputs, one a line, with --inputs (`-` is standard input)".to_owned();
            return Err(PrepareError::Usage { reason });
        };
        let words = program::words(command)?;
        let entries = read_list(list, "read the list")?;
        if entries.is_empty() {
            return Err(PrepareError::Empty { what: format!("--inputs {}", shown(list)) });
        }
        Ok(Spec {
            words,
            entries: entries.iter().map(|entry| paths::from_bytes(entry)).collect(),
            outputs: self.output,
            copy: self.copy,
            ignore_stdout: self.ignore_stdout,
            timeout_s: self.timeout.unwrap_or(60),
            ends_run,
            folder: PathBuf::new(),
        })
    }
}

#[derive(Debug, Args)]
struct ToRun {
    #[command(flatten)]
    options: Options,
    /// The command, after `--`.
    #[arg(value_name = "WORD")]
    command: Vec<PathBuf>,
}

impl Workload for Spec {
    const NAME: &'static str = "command";
    const ABOUT: &'static str = "Start a program for each entry of a list";
    const STARTS_PROGRAMS: bool = true;
    const INSTEAD_OF_PATHS: &'static str = "";

    type Input = Item;
    type Output = Result<Finished, ItemError>;

    fn of_job(_: &JobSize) -> Self {
        Self::default()
    }

    fn prepare(&self, _: &Place<'_>) -> Result<Prepared<Item>, PrepareError> {
        stage::stage(self)
    }

    fn run(input: Item) -> Self::Output {
        run::run(&input)
    }

    fn add_answer(digest: &mut Digest, output: &Self::Output) {
        match output {
            Ok(finished) => add(digest, std::iter::once(&finished.stdout).chain(&finished.outputs)),
            Err(error) => digest.add(error),
        }
    }

    fn add_to(&self, digest: &mut Digest, output: &Self::Output) {
        match output {
            Ok(finished) if self.ignore_stdout => add(digest, &finished.outputs),
            output => Self::add_answer(digest, output),
        }
    }

    fn begin(&mut self, _: Start<'_>) -> Result<Option<Box<dyn Any>>, PrepareError> {
        let folder = tempfile::Builder::new().prefix("lab-command-").tempdir();
        let folder = folder.map_err(PrepareError::file("make a folder in", std::env::temp_dir()))?;
        folder.path().clone_into(&mut self.folder);
        Ok(Some(Box::new(folder)))
    }

    fn time_limit(&self) -> Option<Duration> {
        // One after the other, each at its limit; a command at its limit ends the run.
        let all = self.timeout_s.saturating_mul(self.entries.len() as u64).saturating_add(60);
        Some(Duration::from_secs(all))
    }

    fn own_options(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn with_own(self, paths: &[PathBuf], matches: &ArgMatches) -> Result<Self, PrepareError> {
        parsed::<Options>(matches)?.spec(paths, true)
    }

    fn run_options(command: Command) -> Command {
        ToRun::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        let ToRun { options, command } = parsed(matches)?;
        options.spec(&command, false)
    }

    fn item(_: usize, input: &Item) -> ItemName {
        ItemName::plain("entry", input.name.clone())
    }

    fn show(_: &ItemName, output: Self::Output, format: Format) -> Shown {
        let read = output.and_then(|finished| {
            let read = std::fs::read(&finished.stdout);
            read.map_err(|cause| ItemError { item: shown(&finished.stdout), reason: cause.to_string() })
        });
        Shown::answered(read, |stdout| match format {
            Format::Json => Shown::json("stdout", json!(String::from_utf8_lossy(&stdout))),
            Format::Text | Format::Own => Shown::Text(stdout),
        })
    }
}

/// Adds the contents of files.
fn add<'a>(digest: &mut Digest, files: impl IntoIterator<Item = &'a PathBuf>) {
    for file in files {
        // A file that cannot be read any more makes the answer another one.
        digest.add(&sha256(file).unwrap_or_else(|error| error.to_string()));
    }
}

fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&bytes[..count]),
        }
    }
}
