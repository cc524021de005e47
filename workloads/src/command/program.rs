//! The program of a command, and the form that its words have in another folder.

use std::path::{Path, PathBuf};

use super::placeholder;
use crate::{PrepareError, shown};

/// The words as they are given to the program, which starts in a folder of its own: those that name a file here have its whole
/// path, and the entry comes last where it has no place.
///
/// # Errors
///
/// [`PrepareError`] when there is no such program.
pub(super) fn words(given: &[PathBuf]) -> Result<Vec<PathBuf>, PrepareError> {
    let usage = |reason: String| Err(PrepareError::Usage { reason });
    let Some((program, arguments)) = given.split_first() else {
        return usage("name the command after its options: -- gzip -c {}".to_owned());
    };
    if placeholder::is_in(program) {
        return usage(format!("{}: the first word is the program, and has no placeholder", shown(program)));
    }
    let mut words = vec![find(program)?];
    words.extend(arguments.iter().map(|word| if word.is_file() { whole(word) } else { word.clone() }));
    if !given.iter().any(|word| placeholder::is_in(word)) {
        words.push("{}".into());
    }
    Ok(words)
}

fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The program: as it was named where it is in a folder of `PATH`, else with its whole path.
fn find(program: &Path) -> Result<PathBuf, PrepareError> {
    let missing = |place: &str, cure: &str| {
        Err(PrepareError::Usage { reason: format!("there is no program {} {place}: {cure}", shown(program)) })
    };
    if program.components().count() > 1 {
        return if program.is_file() {
            Ok(whole(program))
        } else {
            missing("in this place", "correct its path, or build it first")
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return Ok(program.to_path_buf());
    }
    if program.is_file() {
        return missing("in the folders of PATH", &format!("the one in this folder is ./{}", shown(program)));
    }
    missing("in the folders of PATH", "install it, or give its path")
}
