//! Why a value could not be encoded or decoded.

use std::fmt;

/// Why a value could not be encoded or decoded, in words. As small as a pointer: every step of writing and reading may return
/// one.
#[derive(Debug)]
pub(crate) struct CodecError(Box<Text>);

#[derive(Debug)]
struct Text(String);

impl CodecError {
    #[cold]
    pub(super) fn new(text: impl fmt::Display) -> Self {
        Self(Box::new(Text(text.to_string())))
    }

    /// Which type it was.
    #[cold]
    pub(super) fn of<T: ?Sized>(mut self) -> Self {
        let name = std::any::type_name::<T>();
        self.0.0.push_str(&format!(" (in a value of type {name})"));
        self
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.0)
    }
}

impl std::error::Error for CodecError {}

impl serde::ser::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text)
    }
}

impl serde::de::Error for CodecError {
    #[cold]
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(text)
    }
}
