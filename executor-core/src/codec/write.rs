//! [`Writer`]: postcard's serializer, with a bound on nesting, and with errors that keep the text of a type's own `Serialize`.
//!
//! postcard writes all that has a form; what contains other values is taken apart here, which takes no more than to know that
//! postcard puts nothing between them.

use std::fmt::Write as _;

use postcard::ser_flavors::Flavor;
use serde::{Serialize, ser};

use super::{
    depth::{Depth, descend},
    error::CodecError,
};
use crate::pins::Written;

type Result<T = Written> = std::result::Result<T, CodecError>;

/// Writes a value at the end of what the flavor holds.
#[inline]
pub(super) fn write<T: ?Sized + Serialize, F: Flavor<Output = ()>>(value: &T, flavor: F) -> Result<()> {
    let mut inner = postcard::Serializer { output: flavor };
    let Written = value.serialize(Writer { inner: &mut inner, depth: Depth::TO_WRITE })?;
    Ok(inner.output.finalize()?)
}

pub(super) struct Writer<'a, F: Flavor> {
    inner: &'a mut postcard::Serializer<F>,
    depth: Depth,
}

impl<F: Flavor> Writer<'_, F> {
    /// Writes a value within this one.
    #[inline]
    fn nested<T: ?Sized + Serialize>(&mut self, value: &T) -> Result {
        let inner = &mut *self.inner;
        descend(self.depth, |depth| value.serialize(Writer { inner, depth }))
    }
}

/// The types that postcard writes by itself.
macro_rules! forward {
    ($($method:ident($value:ty))*) => {
        $(#[inline]
        fn $method(self, value: $value) -> Result {
            self.inner.$method(value)?;
            Ok(Written)
        })*
    };
}

impl<'a, F: Flavor> ser::Serializer for Writer<'a, F> {
    type Ok = Written;
    type Error = CodecError;
    type SerializeSeq = Counted<'a, F>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Counted<'a, F>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    forward!(
        serialize_bool(bool) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64) serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_u128(u128)
        serialize_f32(f32) serialize_f64(f64)
    );

    /// The text is made once: postcard makes it twice, for its length first, and the second one may be another.
    fn collect_str<T: ?Sized + std::fmt::Display>(self, value: &T) -> Result {
        let mut text = String::new();
        write!(text, "{value}").map_err(|_| CodecError::new("its Display has failed"))?;
        self.serialize_str(&text)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    #[inline]
    fn serialize_none(self) -> Result {
        self.inner.serialize_none()?;
        Ok(Written)
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(mut self, value: &T) -> Result {
        self.inner.serialize_u8(1)?;
        self.nested(value)
    }

    #[inline]
    fn serialize_unit(self) -> Result {
        Ok(Written)
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result {
        Ok(Written)
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result {
        self.inner.serialize_u32(index)?;
        Ok(Written)
    }

    #[inline]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(mut self, _: &'static str, value: &T) -> Result {
        self.nested(value)
    }

    #[inline]
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result {
        self.inner.serialize_u32(index)?;
        self.nested(value)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Counted<'a, F>> {
        let _ = self.inner.serialize_seq(length)?;
        Ok(Counted { writer: self, promised: length.unwrap_or(0), written: 0 })
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> Result<Self> {
        self.inner.serialize_u32(index)?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Counted<'a, F>> {
        let _ = self.inner.serialize_map(length)?;
        Ok(Counted { writer: self, promised: length.unwrap_or(0), written: 0 })
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(self, _: &'static str, index: u32, _: &'static str, _: usize) -> Result<Self> {
        self.inner.serialize_u32(index)?;
        Ok(self)
    }
}

/// The values that come after their number. With another number of them the other side would take the next bytes for some of them.
pub(super) struct Counted<'a, F: Flavor> {
    writer: Writer<'a, F>,
    promised: usize,
    written: usize,
}

impl<F: Flavor> Counted<'_, F> {
    #[inline]
    fn end(self) -> Result {
        if self.written == self.promised { Ok(Written) } else { Err(self.broken_promise()) }
    }

    #[cold]
    fn broken_promise(&self) -> CodecError {
        let Self { promised, written, .. } = self;
        CodecError::new(format_args!("its Serialize says that it has {promised} elements, and gives {written}"))
    }
}

impl<F: Flavor> ser::SerializeSeq for Counted<'_, F> {
    type Ok = Written;
    type Error = CodecError;

    #[inline]
    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        self.written += 1;
        self.writer.nested(value).map(|Written| ())
    }

    #[inline]
    fn end(self) -> Result {
        self.end()
    }
}

/// The values within another one are written side by side.
macro_rules! elements {
    ($($trait:ident: $method:ident)*) => {
        $(impl<F: Flavor> ser::$trait for Writer<'_, F> {
            type Ok = Written;
            type Error = CodecError;

            #[inline]
            fn $method<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
                self.nested(value).map(|Written| ())
            }

            #[inline]
            fn end(self) -> Result {
                Ok(Written)
            }
        })*
    };
}

elements!(
    SerializeTuple: serialize_element
    SerializeTupleStruct: serialize_field
    SerializeTupleVariant: serialize_field
);

impl<F: Flavor> ser::SerializeMap for Counted<'_, F> {
    type Ok = Written;
    type Error = CodecError;

    #[inline]
    fn serialize_key<T: ?Sized + Serialize>(&mut self, key: &T) -> Result<()> {
        self.written += 1;
        self.writer.nested(key).map(|Written| ())
    }

    #[inline]
    fn serialize_value<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<()> {
        self.writer.nested(value).map(|Written| ())
    }

    #[inline]
    fn end(self) -> Result {
        self.end()
    }
}

/// A field that is left out would shift those behind it: nothing in the bytes says which it was.
#[cold]
fn left_out(name: &'static str) -> CodecError {
    CodecError::new(format_args!(
        "its field `{name}` is left out (skip_serializing_if), which the other side cannot see"
    ))
}

/// Fields are written side by side, without their names.
macro_rules! fields {
    ($($trait:ident)*) => {
        $(impl<F: Flavor> ser::$trait for Writer<'_, F> {
            type Ok = Written;
            type Error = CodecError;

            #[inline]
            fn serialize_field<T: ?Sized + Serialize>(&mut self, _: &'static str, value: &T) -> Result<()> {
                self.nested(value).map(|Written| ())
            }

            fn skip_field(&mut self, name: &'static str) -> Result<()> {
                Err(left_out(name))
            }

            #[inline]
            fn end(self) -> Result {
                Ok(Written)
            }
        })*
    };
}

fields!(SerializeStruct SerializeStructVariant);
