//! Lists that a user gives: one entry a line, or each ended by a NUL byte, which a path cannot have in it.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use crate::PrepareError;

/// The entries of the list at `path`; `-` is standard input. A byte order mark is not part of the first entry. In a list with
/// lines, a carriage return before the end of a line is not part of the entry.
///
/// # Errors
///
/// [`PrepareError`] when the list cannot be read or is in UTF-16.
pub fn read_list(path: &Path, what: &'static str) -> Result<Vec<Vec<u8>>, PrepareError> {
    let read = || -> io::Result<Vec<u8>> {
        if path.as_os_str() == "-" {
            let mut bytes = Vec::new();
            io::stdin().lock().read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
        fs::read(path)
    };
    let bytes = read().map_err(PrepareError::file(what, path))?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let cause = io::Error::new(io::ErrorKind::InvalidData, "it is in UTF-16: save it as UTF-8");
        return Err(PrepareError::file(what, path)(cause));
    }
    Ok(entries(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)))
}

fn entries(bytes: &[u8]) -> Vec<Vec<u8>> {
    let whole = |entry: &&[u8]| !entry.is_empty();
    if bytes.contains(&0) {
        return bytes.split(|byte| *byte == 0).filter(whole).map(<[u8]>::to_vec).collect();
    }
    bytes
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(whole)
        .map(<[u8]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_or_nul_bytes_and_no_byte_order_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            read_list(&path, "read")
        };
        assert_eq!(read(b"\xef\xbb\xbfone\r\n\ntwo words\n").unwrap(), [b"one".to_vec(), b"two words".to_vec()]);
        assert_eq!(read(b"one\nline\0two\xff\0").unwrap(), [b"one\nline".to_vec(), b"two\xff".to_vec()]);
        let error = read(b"\xff\xfeh\0").unwrap_err();
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("UTF-8"), "{error}");
    }
}
