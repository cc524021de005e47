//! Placeholders in the words of a command.

use std::path::{Path, PathBuf};

use crate::paths::{from_bytes, to_bytes};

/// Each placeholder, longest first where one begins like another. The last one is a pair of braces that is meant literally.
const PLACEHOLDERS: [(&str, Placeholder); 7] = [
    ("{{}}", Placeholder::Braces),
    ("{}", Placeholder::Entry),
    ("{.}", Placeholder::Stem),
    ("{//}", Placeholder::Folder),
    ("{/.}", Placeholder::NameStem),
    ("{/}", Placeholder::Name),
    ("{#}", Placeholder::Number),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Entry,
    /// Without its extension.
    Stem,
    /// Without its folder.
    Name,
    /// Without its folder and its extension.
    NameStem,
    Folder,
    Number,
    Braces,
}

impl Placeholder {
    fn value(self, entry: &Path, number: usize) -> Vec<u8> {
        let name = || Path::new(entry.file_name().unwrap_or(entry.as_os_str()));
        match self {
            Self::Entry => to_bytes(entry),
            Self::Stem => to_bytes(&entry.with_extension("")),
            Self::Name => to_bytes(name()),
            Self::NameStem => to_bytes(&name().with_extension("")),
            Self::Folder => match entry.parent().map(to_bytes) {
                Some(parent) if !parent.is_empty() => parent,
                _ => b".".to_vec(),
            },
            Self::Number => number.to_string().into_bytes(),
            Self::Braces => b"{}".to_vec(),
        }
    }
}

/// The placeholder at the beginning of `bytes`, with its length.
fn at(bytes: &[u8]) -> Option<(usize, Placeholder)> {
    let (text, placeholder) = PLACEHOLDERS.iter().find(|(text, _)| bytes.starts_with(text.as_bytes()))?;
    Some((text.len(), *placeholder))
}

/// The word with the entry, which has this number in its list, in place of each placeholder.
pub(super) fn fill(word: &Path, entry: &Path, number: usize) -> PathBuf {
    let word = to_bytes(word);
    let (mut rest, mut filled) = (&word[..], Vec::new());
    while let Some(&byte) = rest.first() {
        match at(rest) {
            Some((length, placeholder)) => {
                filled.extend(placeholder.value(entry, number));
                rest = &rest[length..];
            }
            None => {
                filled.push(byte);
                rest = &rest[1..];
            }
        }
    }
    from_bytes(&filled)
}

/// Whether an entry stands anywhere in the word.
pub(super) fn is_in(word: &Path) -> bool {
    let word = to_bytes(word);
    let mut rest = &word[..];
    while !rest.is_empty() {
        match at(rest) {
            Some((length, Placeholder::Braces)) => rest = &rest[length..],
            Some(_) => return true,
            None => rest = &rest[1..],
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_placeholder_stands_for_its_part_of_the_entry() {
        let filled = |word: &str| fill(Path::new(word), Path::new("a/b.c/d e.tar.gz"), 7).display().to_string();
        assert_eq!(filled("{}"), "a/b.c/d e.tar.gz");
        assert_eq!(filled("in={}:{}.png"), "in=a/b.c/d e.tar.gz:a/b.c/d e.tar.gz.png");
        assert_eq!(filled("{.}"), "a/b.c/d e.tar");
        assert_eq!(filled("{/}"), "d e.tar.gz");
        assert_eq!(filled("{/.}-{#}"), "d e.tar-7");
        assert_eq!(filled("{//}"), "a/b.c");
        assert_eq!(filled("{{}}{{}"), "{}{a/b.c/d e.tar.gz");
        assert_eq!(filled("{print $1}{ }{"), "{print $1}{ }{");
        let plain = |word: &str| fill(Path::new(word), Path::new("17"), 1).display().to_string();
        assert_eq!((plain("{.}"), plain("{//}"), plain("{/}")), ("17".to_owned(), ".".to_owned(), "17".to_owned()));
    }

    #[test]
    fn literal_braces_are_no_place_for_an_entry() {
        for (word, is) in [("x{}y", true), ("{#}", true), ("{{}}", false), ("{print}", false), ("{{}}{.}", true)] {
            assert_eq!(is_in(Path::new(word)), is, "{word}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_entry_need_not_be_utf_8() {
        assert_eq!(to_bytes(&fill(Path::new("{}.png"), &from_bytes(b"\xff"), 1)), b"\xff.png");
    }
}
