//! `sha256`: hashes files, one task per file. It uses the CPU and, when the files are not in the page cache, the disk; opening a
//! file takes locks that all threads of a process share.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Args, Command};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

use crate::{
    ItemError, PrepareError, Prepared, Skipped,
    answer::hex,
    made_input::{Check, make_once},
    paths::{self, shown},
    random::Random,
    read_list,
    workload::{A_GIB, Format, ItemName, JobSize, Place, Shown, Workload, parsed},
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Files, and folders that are searched recursively. If empty, files are made.
    #[serde(with = "paths::many")]
    pub paths: Vec<PathBuf>,
    /// Bytes read at a time.
    pub chunk_size: usize,
    /// Number of files that are made.
    pub made_files: u32,
    /// Bytes in each of them.
    pub made_bytes: u64,
    /// Seed of their content.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Self { paths: Vec::new(), chunk_size: 4096, made_files: 64, made_bytes: 256 * 1024, seed: 42 }
    }
}

/// One file to hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    path: Vec<u8>,
    chunk_size: u64,
}

/// One file's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    path: Vec<u8>,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Bytes in the file.
    pub bytes: u64,
}

/// Finds or makes the files. A path that cannot be hashed is skipped and named, never opened if opening could block. Files that
/// were made before are read once, to check that they are unchanged.
///
/// # Errors
///
/// [`PrepareError`] when the files cannot be made, a setting is invalid, or there is nothing to hash.
pub fn prepare(spec: &Spec, data: &Path) -> Result<Prepared<Item>, PrepareError> {
    prepare_with(spec, data, Check::Content)
}

fn prepare_with(spec: &Spec, data: &Path, check: Check) -> Result<Prepared<Item>, PrepareError> {
    if spec.chunk_size == 0 || spec.chunk_size > 1 << 30 {
        return Err(PrepareError::Value { name: "chunk size", rule: "between 1 byte and 1 GiB" });
    }
    let (mut files, mut skipped, mut description) = (Vec::new(), Vec::new(), String::new());
    if spec.paths.is_empty() {
        let recipe = format!("sha256 v1: {} files of {} bytes, seed {}", spec.made_files, spec.made_bytes, spec.seed);
        let folder = data.join(format!("sha256-{}-{}-{}", spec.made_files, spec.made_bytes, spec.seed));
        make_once(&folder, &recipe, check, |folder| make_files(folder, spec))?;
        files.extend((0..spec.made_files).map(|number| made_file(&folder, number)));
        description.push_str(&recipe);
    } else {
        let mut seen = HashSet::new();
        for path in &spec.paths {
            search(path, &mut seen, &mut files, &mut skipped);
        }
    }
    if files.is_empty() {
        if !skipped.is_empty() {
            return Err(PrepareError::AllSkipped { skipped });
        }
        let paths: Vec<_> = spec.paths.iter().map(|path| shown(path)).collect();
        return Err(PrepareError::Empty { what: paths.join(", ") });
    }
    let mut fingerprint = Sha256::new();
    let mut total = 0;
    for file in &files {
        let metadata = fs::metadata(file).ok();
        let bytes = metadata.as_ref().map_or(0, fs::Metadata::len);
        total += bytes;
        // Made files are the same in every folder.
        let name = if spec.paths.is_empty() { file.file_name().unwrap_or_default() } else { file.as_os_str() };
        fingerprint.update(name.as_encoded_bytes());
        fingerprint.update([0]);
        fingerprint.update(bytes.to_le_bytes());
        if !spec.paths.is_empty() {
            // The user's own files may change without a change of their lengths.
            fingerprint.update(modified(metadata.as_ref()).to_le_bytes());
        }
    }
    fingerprint.update(spec.seed.to_le_bytes());
    fingerprint.update((spec.chunk_size as u64).to_le_bytes());
    if description.is_empty() {
        description = format!("{} files, {total} bytes", files.len());
    }
    let chunk_size = spec.chunk_size as u64;
    let items = files.into_iter().map(|path| Item { path: paths::to_bytes(&path), chunk_size }).collect();
    Ok(Prepared { items, skipped, description, fingerprint: hex(&fingerprint.finalize()) })
}

fn made_file(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("file-{number:05}.bin"))
}

fn make_files(folder: &Path, spec: &Spec) -> Result<(), PrepareError> {
    let mut random = Random::new(spec.seed);
    let mut block = vec![0; 64 * 1024];
    for number in 0..spec.made_files {
        let path = made_file(folder, number);
        let mut write = || -> io::Result<()> {
            let mut file = File::create(&path)?;
            let mut left = spec.made_bytes;
            while left > 0 {
                let count = left.min(block.len() as u64) as usize;
                random.fill(&mut block[..count]);
                io::Write::write_all(&mut file, &block[..count])?;
                left -= count as u64;
            }
            Ok(())
        };
        write().map_err(PrepareError::file("write", &path))?;
    }
    Ok(())
}

/// Adds every regular file at or below `path` that is not among the `seen` ones yet, in a fixed order.
fn search(path: &Path, seen: &mut HashSet<PathBuf>, files: &mut Vec<PathBuf>, skipped: &mut Vec<Skipped>) {
    for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) if entry.file_type().is_file() => match can_be_read(entry.path()) {
                Ok(()) => {
                    let path = entry.into_path();
                    if seen.insert(path.clone()) {
                        files.push(path);
                    }
                }
                Err(error) => skipped.push(Skipped { path: entry.into_path(), reason: reason_of(&error) }),
            },
            Ok(entry) => {
                // Opening a named pipe would wait for a writer, and devices have no end.
                skipped.push(Skipped { path: entry.into_path(), reason: "not a regular file".to_owned() });
            }
            Err(error) => {
                let path = error.path().unwrap_or(path).to_path_buf();
                let reason = match (error.loop_ancestor(), error.io_error()) {
                    (Some(ancestor), _) => format!("a loop of links back to {}", shown(ancestor)),
                    (None, Some(_)) if is_dangling(&path) => "a dangling link (what it names is not there)".to_owned(),
                    (None, Some(cause)) if cause.raw_os_error() == Some(TOO_MANY_LINKS) => {
                        "links that lead to each other, and to no file".to_owned()
                    }
                    (None, Some(cause)) => reason_of(cause),
                    (None, None) => error.to_string(),
                };
                skipped.push(Skipped { path, reason });
            }
        }
    }
}

fn can_be_read(path: &Path) -> io::Result<()> {
    File::open(path).map(drop)
}

/// Whether the target of a link does not exist. A target that cannot be inspected, for any reason, may exist.
fn is_dangling(path: &Path) -> bool {
    path.is_symlink() && fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// `ELOOP`.
const TOO_MANY_LINKS: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 40 } else { 62 };

/// When a file was last written, in nanoseconds since 1970; 0 where the system does not report it.
pub(crate) fn modified(metadata: Option<&fs::Metadata>) -> u128 {
    let time = metadata.and_then(|metadata| metadata.modified().ok());
    time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |since| since.as_nanos())
}

pub(crate) fn reason_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Hashes one file, reading it in chunks.
///
/// # Errors
///
/// [`ItemError`] when the file cannot be read.
pub fn hash_file(item: Item) -> Result<Answer, ItemError> {
    let path = paths::from_bytes(&item.path);
    let error = |cause: io::Error| ItemError { item: shown(&path), reason: reason_of(&cause) };
    let mut file = File::open(&path).map_err(error)?;
    let mut chunk = vec![0; usize::try_from(item.chunk_size).unwrap_or(4096)];
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&chunk[..count]);
                bytes += count as u64;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(error(cause)),
        }
    }
    Ok(Answer { path: item.path, sha256: hex(&hasher.finalize()), bytes })
}

impl Answer {
    /// A line that `sha256sum -c` accepts. As `sha256sum` does, a name with a backslash, a newline or a carriage return is
    /// escaped, and the line begins with a backslash then.
    #[must_use]
    pub fn sha256sum_line(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(self.path.len() + 68);
        if self.path.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
            line.push(b'\\');
        }
        line.extend_from_slice(self.sha256.as_bytes());
        line.extend_from_slice(b"  ");
        for &byte in &self.path {
            match byte {
                b'\\' => line.extend_from_slice(b"\\\\"),
                b'\n' => line.extend_from_slice(b"\\n"),
                b'\r' => line.extend_from_slice(b"\\r"),
                other => line.push(other),
            }
        }
        line.push(b'\n');
        line
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        paths::from_bytes(&self.path)
    }
}

impl Item {
    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        paths::from_bytes(&self.path)
    }
}

/// Files to hash.
#[derive(Debug, Clone, Default, Args)]
struct Files {
    /// Files, and folders that are searched recursively [default: files that are made in target/lab-data of the current folder].
    #[arg(long, num_args = 1.., value_name = "PATH")]
    path: Vec<PathBuf>,
    /// A list of such paths: one per line, or each ended by a NUL byte (as `find -print0` does); `-` is standard input.
    #[arg(long, value_name = "LIST")]
    paths_from: Option<PathBuf>,
    /// Bytes read at a time [default: 4096].
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=A_GIB))]
    chunk_size: Option<u32>,
}

impl Files {
    /// Adds the paths that were named, in their order.
    fn spec(&self, more: &[PathBuf], made: Spec) -> Result<Spec, PrepareError> {
        let mut paths = [&self.path[..], more].concat();
        if let Some(list) = &self.paths_from {
            let listed = read_list(list, "read the list of paths")?;
            if listed.is_empty() {
                return Err(PrepareError::Empty { what: shown(list) });
            }
            paths.extend(listed.iter().map(|path| paths::from_bytes(path)));
        }
        let chunk_size = self.chunk_size.map_or(made.chunk_size, |size| size as usize);
        Ok(Spec { paths, chunk_size, ..made })
    }
}

#[derive(Debug, Clone, Args)]
struct FilesToRun {
    /// Same as --path.
    #[arg(value_name = "PATH")]
    more: Vec<PathBuf>,
    #[command(flatten)]
    files: Files,
}

impl Workload for Spec {
    const NAME: &'static str = "sha256";
    const ABOUT: &'static str = "Hash files, and folders with all below them";
    const TAKES_PATHS: bool = true;
    const OWN_FORMAT: Option<&'static str> = Some("sha256sum");

    type Input = Item;
    type Output = Result<Answer, ItemError>;

    fn of_job(job: &JobSize) -> Self {
        Self { made_files: if job.quick { 64 } else { 128 }, made_bytes: 1 << 20, ..Self::default() }
    }

    fn prepare(&self, place: &Place<'_>) -> Result<Prepared<Item>, PrepareError> {
        prepare_with(self, place.data, Check::of(place))
    }

    fn run(input: Item) -> Self::Output {
        hash_file(input)
    }

    fn own_options(command: Command) -> Command {
        Files::augment_args(command)
    }

    fn with_own(self, paths: &[PathBuf], matches: &ArgMatches) -> Result<Self, PrepareError> {
        parsed::<Files>(matches)?.spec(paths, self)
    }

    fn run_options(command: Command) -> Command {
        FilesToRun::augment_args(command)
    }

    fn from_run(matches: &ArgMatches) -> Result<Self, PrepareError> {
        let FilesToRun { more, files } = parsed(matches)?;
        files.spec(&more, Self::default())
    }

    fn made_without(&self) -> Option<&'static str> {
        self.paths.is_empty().then_some("--path")
    }

    fn named(&self) -> &[PathBuf] {
        &self.paths
    }

    fn item(_: usize, input: &Item) -> ItemName {
        ItemName::path("path", &input.path())
    }

    fn show(_: &ItemName, output: Self::Output, format: Format) -> Shown {
        Shown::answered(output, |answer| match format {
            Format::Json => {
                let fields = [("sha256", json!(answer.sha256)), ("bytes", json!(answer.bytes))];
                Shown::Json(fields.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
            }
            Format::Text | Format::Own => Shown::Text(answer.sha256sum_line()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(paths: &[&Path]) -> Spec {
        Spec { paths: paths.iter().map(|path| path.to_path_buf()).collect(), ..Spec::default() }
    }

    fn reasons(prepared: &Prepared<Item>) -> Vec<String> {
        prepared.skipped.iter().map(|skipped| skipped.reason.clone()).collect()
    }

    #[test]
    fn a_known_hash_whatever_the_chunk_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        for chunk_size in [1, 2, 4096] {
            let prepared = prepare(&Spec { chunk_size, ..spec(&[&path]) }, folder.path()).unwrap();
            let answer = hash_file(prepared.items[0].clone()).unwrap();
            assert_eq!(answer.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
            assert_eq!(answer.bytes, 3);
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_that_lead_nowhere_or_back_are_skipped_and_named() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        symlink(folder.path(), inner.join("loop")).unwrap();
        symlink("nowhere", inner.join("dangling")).unwrap();
        symlink("file", inner.join("link")).unwrap();
        symlink("pong", inner.join("ping")).unwrap();
        symlink("ping", inner.join("pong")).unwrap();
        let prepared = prepare(&spec(&[folder.path()]), folder.path()).unwrap();
        assert_eq!(prepared.items.len(), 2, "the file, and the link to it");
        let reasons = reasons(&prepared);
        assert_eq!(reasons.len(), 4, "{reasons:?}");
        assert!(reasons[0].starts_with("a dangling link"), "{reasons:?}");
        assert!(reasons[1].starts_with("a loop of links"), "{reasons:?}");
        assert!(reasons[2..].iter().all(|reason| reason.starts_with("links that lead to each other")), "{reasons:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_is_never_opened() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let prepared = prepare(&spec(&[folder.path()]), folder.path()).unwrap();
        assert_eq!(reasons(&prepared), ["not a regular file"]);
    }

    #[test]
    fn a_missing_path_is_skipped_and_nothing_at_all_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, file) = (folder.path().join("missing"), folder.path().join("file"));
        fs::write(&file, "x").unwrap();
        let prepared = prepare(&spec(&[&missing, &file]), folder.path()).unwrap();
        assert_eq!((prepared.items.len(), reasons(&prepared)), (1, vec!["no such file or folder".to_owned()]));
        match prepare(&spec(&[&missing]), folder.path()).unwrap_err() {
            PrepareError::AllSkipped { skipped } => assert_eq!(skipped[0].reason, "no such file or folder"),
            other => panic!("{other}"),
        }
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let error = prepare(&spec(&[&empty]), folder.path()).unwrap_err();
        assert!(matches!(error, PrepareError::Empty { .. }), "{error}");
    }

    #[test]
    fn a_file_below_two_of_the_paths_is_hashed_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(prepare(&spec(&[folder.path(), &file]), folder.path()).unwrap().items.len(), 1);
    }

    #[test]
    fn a_file_that_disappears_is_its_own_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "x").unwrap();
        let prepared = prepare(&spec(&[&path]), folder.path()).unwrap();
        fs::remove_file(&path).unwrap();
        let error = hash_file(prepared.items[0].clone()).unwrap_err();
        assert_eq!(error.reason, "no such file or folder");
    }

    #[test]
    fn made_files_are_the_same_everywhere_and_made_once() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let small = Spec { made_files: 2, made_bytes: 1000, ..Spec::default() };
        let first = prepare(&small, one.path()).unwrap();
        let second = prepare(&small, two.path()).unwrap();
        assert_eq!(first.fingerprint, second.fingerprint);
        let hash = |prepared: &Prepared<Item>| hash_file(prepared.items[1].clone()).unwrap().sha256;
        assert_eq!(hash(&first), hash(&second));
        let file = paths::from_bytes(&first.items[0].path);
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        prepare(&small, one.path()).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    }

    #[test]
    fn odd_names_are_escaped_as_sha256sum_does() {
        let answer = |path: &[u8]| Answer { path: path.to_vec(), sha256: "00".to_owned(), bytes: 0 };
        assert_eq!(answer(b"plain \xff").sha256sum_line(), b"00  plain \xff\n");
        assert_eq!(answer(b"a\nb\\c\r").sha256sum_line(), b"\\00  a\\nb\\\\c\\r\n");
    }
}
