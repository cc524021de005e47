//! One task: a program from its start to its end.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use super::{
    item::{Finished, Item, stream},
    wait,
};
use crate::{ItemError, shown};

/// The longest end of a program's standard error that is a part of a message.
const TAIL: u64 = 300;

/// The program that took too long in this process, if one did and that ends the run.
static TOO_LONG: OnceLock<String> = OnceLock::new();

/// Starts the program and waits for its end.
pub(super) fn run(item: &Item) -> Result<Finished, ItemError> {
    if let Some(other) = TOO_LONG.get().filter(|_| item.ends_run) {
        return Err(error(item, format!("not started, because {other}")));
    }
    finish(item).map_err(|reason| error(item, reason))
}

fn error(item: &Item, reason: String) -> ItemError {
    ItemError { item: item.name.clone(), reason }
}

fn finish(item: &Item) -> Result<Finished, String> {
    let (program, arguments) = item.words.split_first().ok_or("there is no program")?;
    let [stdout, stderr] = ["out", "err"].map(|name| stream(&item.folder, name));
    let open = |path: &Path| File::create(path).map_err(|cause| format!("failed to write {}: {cause}", shown(path)));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&item.folder);
    command.stdin(Stdio::null()).stdout(open(&stdout)?).stderr(open(&stderr)?);
    let mut child = command.spawn().map_err(|cause| not_started(item, &cause))?;
    let limit = Duration::from_secs(item.timeout_s);
    let status = wait::within(&mut child, limit).map_err(|cause| format!("could not be waited for: {cause}"))?;
    let Some(status) = status else {
        // It fails only where the program has ended meanwhile.
        let _ = child.kill();
        let _ = child.wait();
        let reason = format!(
            "{} has not ended within {} s: give it more with --timeout, or see what it waits for{}",
            line(item),
            item.timeout_s,
            tail(&stderr)
        );
        if item.ends_run {
            let _ = TOO_LONG.set(format!("{} has not ended within {} s", item.name, item.timeout_s));
        }
        return Err(reason);
    };
    if !status.success() {
        return Err(format!("{} {}{}{}", line(item), ended(status), tail(&stderr), cure(item)));
    }
    match item.outputs.iter().find(|output| !output.is_file()) {
        None => Ok(Finished { stdout, outputs: item.outputs.clone() }),
        Some(missing) => {
            let missing = missing.strip_prefix(&item.folder).unwrap_or(missing);
            Err(format!("{} ended well, and has not written the file {} of --output", line(item), shown(missing)))
        }
    }
}

fn line(item: &Item) -> String {
    let words: Vec<String> = item.words.iter().map(|word| shown(word)).collect();
    format!("`{}`", words.join(" "))
}

fn not_started(item: &Item, cause: &io::Error) -> String {
    let program = item.words.first().map(|program| shown(program)).unwrap_or_default();
    let cure = match cause.kind() {
        io::ErrorKind::NotFound => ": install it, or give its path",
        io::ErrorKind::PermissionDenied => ": `chmod +x` lets it run",
        io::ErrorKind::ArgumentListTooLong => ": an entry of the list is too long for a command",
        _ => "",
    };
    format!("{program} could not be started ({cause}){cure}")
}

fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("was ended by signal {signal}");
    }
    status.code().map_or_else(|| "has failed".to_owned(), |code| format!("ended with exit code {code}"))
}

/// What a program that works by hand may miss here.
fn cure(item: &Item) -> &'static str {
    let is_linked = fs::read_dir(&item.folder)
        .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_symlink())));
    if is_linked {
        ". It starts in a folder of its own, in which its input is a link: where it refuses links, use --copy; give other files \
         by their whole path"
    } else {
        ". It starts in a folder of its own: give other files by their whole path"
    }
}

/// The end of the file as a part of a message.
fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { String::new() } else { format!(" ({})", lines.join(" | ")) }
}
