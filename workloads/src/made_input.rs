//! Input that is made once from a seed, and recognized the next time.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use sha2::{Digest as _, Sha256};

use crate::{Place, PrepareError, answer::hex};

/// How closely input that was made before is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Every byte, before it is measured on.
    Content,
    /// Names and lengths, in a process whose parent has checked the content.
    Names,
}

impl Check {
    pub(crate) fn of(place: &Place<'_>) -> Self {
        if place.again { Self::Names } else { Self::Content }
    }
}

/// The file with the recipe, and below it the length and the SHA-256 of every file.
const MANIFEST: &str = "recipe.txt";

/// Makes `folder` with `make`, unless it was made from the same `recipe` before and is unchanged.
///
/// Several processes may do so at once: one makes the folder and the others wait for it. It is made beside its place, and put
/// there by one rename when it is complete, so that no process sees a half of it. The next process clears away what a killed
/// one has left.
pub(crate) fn make_once(
    folder: &Path,
    recipe: &str,
    check: Check,
    make: impl FnOnce(&Path) -> Result<(), PrepareError>,
) -> Result<(), PrepareError> {
    if is_whole(folder, recipe, check) {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(PrepareError::file("make the folder", parent))?;
    let lock = beside(folder, "lock");
    let lock = File::create(&lock).map_err(PrepareError::file("make the lock", lock))?;
    // INVARIANT: only the process that holds the lock makes, replaces or clears away. On a file system without locks, two
    // processes may make the same folder, and the rename still lets no process see a half of it.
    let locked = lock.lock().is_ok();
    if is_whole(folder, recipe, check) {
        return Ok(());
    }
    if locked {
        clear_parts(parent, folder);
    }
    let mine = format!("{}-{}", std::process::id(), UNIQUE.fetch_add(1, Ordering::Relaxed));
    let part = beside(folder, &format!("{mine}.part"));
    fs::create_dir(&part).map_err(PrepareError::file("make the folder", &part))?;
    let made = make(&part).and_then(|()| {
        let manifest = manifest(&part, recipe).map_err(PrepareError::file("read", &part))?;
        let place = part.join(MANIFEST);
        fs::write(&place, manifest).map_err(PrepareError::file("write", place))?;
        put_in_place(&part, folder, &mine).map_err(PrepareError::file("replace", folder))
    });
    if made.is_err() {
        // An incomplete folder is of no use; the first error is the one to report.
        let _ = fs::remove_dir_all(&part);
        // Without locks, another process may have been faster.
        if is_whole(folder, recipe, Check::Content) {
            return Ok(());
        }
    }
    made
}

static UNIQUE: AtomicU32 = AtomicU32::new(0);

/// `sha256-64-1048576-42` and `lock` make `sha256-64-1048576-42.lock`.
fn beside(folder: &Path, ending: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{ending}"));
    folder.with_file_name(name)
}

/// Removes the folders of processes that were killed while they made `folder`.
fn clear_parts(parent: &Path, folder: &Path) {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let other = entry.file_name().to_string_lossy().into_owned();
        if other.starts_with(&name) && other.ends_with(".part") {
            // A folder that cannot be removed does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A folder cannot be renamed over one that is not empty, so the other one is moved away first.
fn put_in_place(part: &Path, folder: &Path, mine: &str) -> io::Result<()> {
    let old = beside(folder, &format!("{mine}.old.part"));
    match fs::rename(folder, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(part, folder)?;
    // A folder that cannot be removed does no harm.
    let _ = fs::remove_dir_all(&old);
    Ok(())
}

/// The recipe, and a line for each file of the folder, by name.
fn manifest(folder: &Path, recipe: &str) -> io::Result<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name() != MANIFEST {
            let (bytes, digest) = digest_of_file(&entry.path())?;
            lines.push(format!("{digest} {bytes} {}", entry.file_name().to_string_lossy()));
        }
    }
    lines.sort_unstable();
    Ok(format!("{recipe}\n{}\n", lines.join("\n")))
}

/// Whether the folder holds exactly the files that were made from the recipe.
fn is_whole(folder: &Path, recipe: &str, check: Check) -> bool {
    let Ok(found) = fs::read_to_string(folder.join(MANIFEST)) else { return false };
    let Some(files) = found.strip_prefix(recipe).and_then(|rest| rest.strip_prefix('\n')) else { return false };
    if check == Check::Content {
        return manifest(folder, recipe).is_ok_and(|now| now == found);
    }
    files.lines().all(|line| {
        let mut fields = line.splitn(3, ' ').skip(1);
        let length = fields.next().and_then(|length| length.parse().ok());
        let name = fields.next().unwrap_or_default();
        fs::metadata(folder.join(name)).is_ok_and(|metadata| Some(metadata.len()) == length)
    })
}

fn digest_of_file(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut hasher, mut chunk, mut bytes) = (File::open(path)?, Sha256::new(), vec![0; 64 * 1024], 0);
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, hex(&hasher.finalize()))),
            Ok(count) => {
                hasher.update(&chunk[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, atomic::AtomicU32};

    use super::*;

    fn make(folder: &Path) -> Result<(), PrepareError> {
        fs::write(folder.join("one"), "1").map_err(PrepareError::file("write", folder))?;
        fs::write(folder.join("two"), "22").map_err(PrepareError::file("write", folder))
    }

    #[test]
    fn what_is_not_as_it_was_made_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let times = AtomicU32::new(0);
        let once = |check| {
            let count = |folder: &Path| {
                times.fetch_add(1, Ordering::Relaxed);
                make(folder)
            };
            make_once(&made, "recipe", check, count).unwrap();
            assert_eq!(fs::read_to_string(made.join("two")).unwrap(), "22");
            times.swap(0, Ordering::Relaxed)
        };
        assert_eq!([once(Check::Content), once(Check::Content), once(Check::Names)], [1, 0, 0]);
        fs::write(made.join("two"), "xx").unwrap();
        assert_eq!(once(Check::Content), 1, "other bytes of the same length");
        fs::write(made.join("two"), "longer").unwrap();
        assert_eq!(once(Check::Names), 1);
        fs::remove_file(made.join("two")).unwrap();
        assert_eq!(once(Check::Names), 1);
        fs::write(made.join("two-journal"), "x").unwrap();
        assert_eq!(once(Check::Content), 1, "one file too many");
        fs::write(made.join(MANIFEST), "recipe").unwrap();
        assert_eq!(once(Check::Names), 1, "a list of nothing");
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "the folder and its lock: {names:?}");
    }

    #[test]
    fn one_makes_and_the_others_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        // The folder that a killed process has left.
        fs::create_dir_all(folder.path().join("made.1-0.part/rest")).unwrap();
        let (times, start) = (AtomicU32::new(0), Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let count = |folder: &Path| {
                        times.fetch_add(1, Ordering::Relaxed);
                        make(folder)
                    };
                    make_once(&made, "recipe", Check::Content, count).unwrap();
                    assert!(is_whole(&made, "recipe", Check::Content));
                });
            }
        });
        assert_eq!(times.load(Ordering::Relaxed), 1);
        assert!(!folder.path().join("made.1-0.part").exists());
    }

    #[test]
    fn what_could_not_be_made_leaves_nothing_and_harms_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("made");
        let fail = |_: &Path| Err(PrepareError::Value { name: "x", rule: "y" });
        make_once(&made, "recipe", Check::Content, fail).unwrap_err();
        assert!(!made.exists() && fs::read_dir(folder.path()).unwrap().count() == 1, "only the lock");
    }
}
