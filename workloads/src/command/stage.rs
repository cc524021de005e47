//! The folders of one run of a list.

use std::{
    fs::{self, File, FileTimes},
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{item::Item, placeholder, spec::Spec};
use crate::{PrepareError, Prepared, digest_of, shown};

/// Makes the folders of the next run, in the place of those of the run before, and the tasks in them.
pub(super) fn stage(spec: &Spec) -> Result<Prepared<Item>, PrepareError> {
    if spec.folder.as_os_str().is_empty() {
        return Err(PrepareError::Usage { reason: "the command has no folder to run in".to_owned() });
    }
    let run = spec.folder.join("run");
    match fs::remove_dir_all(&run) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(PrepareError::file("remove the folder", &run)(error));
        }
        _ => {}
    }
    fs::create_dir_all(&run).map_err(PrepareError::file("make the folder", &run))?;
    let (mut items, mut facts) = (Vec::with_capacity(spec.entries.len()), Vec::new());
    for (index, entry) in spec.entries.iter().enumerate() {
        let (item, fact) = task(spec, &run, index + 1, entry)?;
        items.push(item);
        facts.push(fact);
    }
    let description = format!(
        "{} entries of a list, for each of which {} is started; a worker is a place for one program at a time",
        items.len(),
        spec.line(),
    );
    let fingerprint = digest_of(&[description.clone(), digest_of(&facts), digest_of(&spec.written_words())]);
    Ok(Prepared { items, skipped: Vec::new(), description, fingerprint })
}

/// The task of one entry, and what must be equal for its input to be the same.
fn task(spec: &Spec, run: &Path, number: usize, entry: &Path) -> Result<(Item, String), PrepareError> {
    let folder = run.join(number.to_string());
    fs::create_dir(&folder).map_err(PrepareError::file("make the folder", &folder))?;
    let (given, fact) = match (fs::metadata(entry), entry.file_name()) {
        (Ok(metadata), Some(name)) => {
            let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let name = Path::new(name);
            bring(entry, &folder.join(name), spec.copy)?;
            let length = if metadata.is_file() { metadata.len() } else { 0 };
            (plain(name), format!("{} {length} {changed:?}", shown(entry)))
        }
        _ => (entry.to_path_buf(), shown(entry)),
    };
    let fill = |word: &PathBuf| placeholder::fill(word, &given, number);
    let mut outputs = Vec::new();
    for output in spec.outputs.iter().map(fill) {
        if output.is_absolute() || output.components().any(|part| part.as_os_str() == "..") {
            let reason = format!("--output {}: output files are in the folder of the command", shown(&output));
            return Err(PrepareError::Usage { reason });
        }
        outputs.push(folder.join(output));
    }
    let item = Item {
        name: shown(entry),
        words: spec.words.iter().map(fill).collect(),
        folder,
        outputs,
        timeout_s: spec.timeout_s,
        ends_run: spec.ends_run,
    };
    Ok((item, fact))
}

/// A name that is not taken for an option.
fn plain(name: &Path) -> PathBuf {
    if name.as_os_str().as_encoded_bytes().starts_with(b"-") { Path::new(".").join(name) } else { name.to_path_buf() }
}

/// Puts the file or folder at `from` in the place `to`.
fn bring(from: &Path, to: &Path, copy: bool) -> Result<(), PrepareError> {
    if !copy {
        let whole = std::path::absolute(from).map_err(PrepareError::file("find", from))?;
        return link(&whole, to).map_err(PrepareError::file("make the link", to));
    }
    if from.is_dir() {
        return Err(PrepareError::Usage { reason: format!("{} is a folder: --copy is for files", shown(from)) });
    }
    let copied = || -> io::Result<()> {
        let times = FileTimes::new().set_modified(fs::metadata(from)?.modified()?);
        fs::copy(from, to)?;
        // Some programs write the time of their input into their output.
        File::open(to)?.set_times(times)
    };
    copied().map_err(PrepareError::file("copy", from))
}

#[cfg(unix)]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(from, to)
}

#[cfg(not(unix))]
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)
}
