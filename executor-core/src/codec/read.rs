//! [`Reader`]: postcard's deserializer, as [`Writer`](super::write::Writer) is its serializer.
//!
//! No visitor is given to postcard: what a type's own `Deserialize` says would come back as postcard's error, without its text.

use postcard::{Deserializer, de_flavors::Slice};
use serde::{
    Deserialize,
    de::{self, DeserializeSeed, IntoDeserializer, Visitor},
};

use super::{
    depth::{Depth, descend},
    error::CodecError,
};

type Result<T> = std::result::Result<T, CodecError>;

/// So many elements of sequences and maps may take no bytes, all together. A few bytes can promise 2^64 of them, and reading them
/// would take years.
const MOST_UNITS: usize = 1 << 20;

/// Reads a value from the beginning of `bytes`; gives the rest as well.
#[inline]
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, &'de [u8])> {
    let total = bytes.len();
    let mut source =
        Source { inner: Deserializer::from_bytes(bytes), total, elements: total.saturating_add(MOST_UNITS) };
    let value = T::deserialize(Reader { source: &mut source, depth: Depth::TO_READ })?;
    Ok((value, source.inner.finalize()?))
}

/// The bytes, and what can be in them.
struct Source<'de> {
    inner: Deserializer<'de, Slice<'de>>,
    /// How long all is: no sequence has more elements than this, unless they take no bytes.
    total: usize,
    /// How many elements may still come. Each sequence and map takes its own off before they are read: an element that takes bytes
    /// has one that belongs to none within it, so there are no more of these than bytes, however they are nested.
    elements: usize,
}

pub(super) struct Reader<'a, 'de> {
    source: &'a mut Source<'de>,
    depth: Depth,
}

impl<'a, 'de> Reader<'a, 'de> {
    /// Types that postcard reads by itself.
    #[inline]
    fn take<T: Deserialize<'de>>(&mut self) -> Result<T> {
        Ok(T::deserialize(&mut self.source.inner)?)
    }

    /// Reads a value within this one.
    #[inline]
    fn nested<R>(&mut self, read: impl FnOnce(Reader<'_, 'de>) -> Result<R>) -> Result<R> {
        let source = &mut *self.source;
        descend(self.depth, |depth| read(Reader { source, depth }))
    }

    /// Reads how many elements follow.
    #[inline]
    fn counted(mut self) -> Result<Elements<'a, 'de>> {
        let left = self.take::<usize>()?;
        self.source.elements = self.source.elements.checked_sub(left).ok_or_else(|| too_many(left))?;
        Ok(Elements { reader: self, left })
    }
}

#[cold]
fn not_self_describing() -> CodecError {
    CodecError::new(format_args!(
        "its Deserialize asks what comes next, which the format does not tell (as untagged, flatten and serde_json::Value do)"
    ))
}

#[cold]
fn too_many(count: usize) -> CodecError {
    CodecError::new(format_args!(
        "there are not bytes for {count} elements, and more than {MOST_UNITS} may not do without"
    ))
}

#[cold]
fn unread(left: usize) -> CodecError {
    CodecError::new(format_args!("its Deserialize leaves {left} elements unread"))
}

/// The types that postcard reads by itself.
macro_rules! forward {
    ($($method:ident: $type:ty => $visit:ident)*) => {
        $(#[inline]
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
            visitor.$visit(self.take::<$type>()?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for Reader<'_, 'de> {
    type Error = CodecError;

    forward!(
        deserialize_bool: bool => visit_bool
        deserialize_char: char => visit_char
        deserialize_i8: i8 => visit_i8
        deserialize_i16: i16 => visit_i16
        deserialize_i32: i32 => visit_i32
        deserialize_i64: i64 => visit_i64
        deserialize_i128: i128 => visit_i128
        deserialize_u8: u8 => visit_u8
        deserialize_u16: u16 => visit_u16
        deserialize_u32: u32 => visit_u32
        deserialize_u64: u64 => visit_u64
        deserialize_u128: u128 => visit_u128
        deserialize_f32: f32 => visit_f32
        deserialize_f64: f64 => visit_f64
        deserialize_str: &'de str => visit_borrowed_str
        deserialize_string: &'de str => visit_borrowed_str
        deserialize_bytes: &'de [u8] => visit_borrowed_bytes
        deserialize_byte_buf: &'de [u8] => visit_borrowed_bytes
    );

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(not_self_describing())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(not_self_describing())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value> {
        Err(not_self_describing())
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value> {
        match self.take::<u8>()? {
            0 => visitor.visit_none(),
            1 => self.nested(|reader| visitor.visit_some(reader)),
            _ => Err(postcard::Error::DeserializeBadOption.into()),
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.nested(|reader| visitor.visit_newtype_struct(reader))
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut elements = self.counted()?;
        let value = visitor.visit_seq(&mut elements)?;
        elements.end().map(|()| value)
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Elements { reader: self, left })
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, left: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Elements { reader: self, left })
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        let mut elements = self.counted()?;
        let value = visitor.visit_map(&mut elements)?;
        elements.end().map(|()| value)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_seq(Elements { reader: self, left: fields.len() })
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }
}

/// The values within another one, which are side by side.
struct Elements<'a, 'de> {
    reader: Reader<'a, 'de>,
    left: usize,
}

impl Elements<'_, '_> {
    /// How many elements a visitor may reserve memory for; the writer of the bytes has only promised a number.
    #[inline]
    fn hint(&self) -> Option<usize> {
        (self.left <= self.reader.source.total).then_some(self.left)
    }

    /// All elements that came after its number have been read: the next value would be taken from the rest otherwise.
    #[inline]
    fn end(self) -> Result<()> {
        if self.left == 0 { Ok(()) } else { Err(unread(self.left)) }
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.reader.nested(|reader| seed.deserialize(reader)).map(Some)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    #[inline]
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value> {
        self.reader.nested(|reader| seed.deserialize(reader))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::EnumAccess<'de> for Reader<'_, 'de> {
    type Error = CodecError;
    type Variant = Self;

    #[inline]
    fn variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<(S::Value, Self)> {
        let index = self.take::<u32>()?;
        let variant = seed.deserialize(IntoDeserializer::<CodecError>::into_deserializer(index))?;
        Ok((variant, self))
    }
}

impl<'de> de::VariantAccess<'de> for Reader<'_, 'de> {
    type Error = CodecError;

    #[inline]
    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value> {
        self.nested(|reader| seed.deserialize(reader))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Elements { reader: self, left })
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        visitor.visit_seq(Elements { reader: self, left: fields.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::BTreeMap};

    use super::*;

    thread_local! {
        static READ: Cell<usize> = const { Cell::new(0) };
    }

    /// Takes no bytes, and no more than so many are read.
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
    struct Unit;

    impl<'de> Deserialize<'de> for Unit {
        fn deserialize<D: de::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
            READ.set(READ.get() + 1);
            if READ.get() > MOST_UNITS + MOST_UNITS / 2 {
                Err(de::Error::custom("it reads on and on"))
            } else {
                Ok(Self)
            }
        }
    }

    fn refused<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> String {
        READ.set(0);
        match read::<T>(bytes) {
            Ok(_) => panic!("that many elements are no value"),
            Err(error) => error.to_string(),
        }
    }

    /// A number of elements, 2^42.
    const MANY: [u8; 7] = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];

    #[test]
    fn a_few_bytes_do_not_make_elements_without_end() {
        for text in [refused::<Vec<Unit>>(&MANY), refused::<BTreeMap<Unit, Unit>>(&MANY)] {
            assert!(text.contains("4398046511104 elements"), "{text}");
        }
        // 200,000 are allowed, and ten times as many are not.
        let nested: Vec<u8> = std::iter::once(10).chain([0xc0, 0x9a, 0x0c].repeat(10)).collect();
        assert!(refused::<Vec<Vec<Unit>>>(&nested).contains("200000 elements"));
    }

    #[test]
    fn many_elements_without_bytes_are_read() {
        READ.set(0);
        // A million of them.
        let (units, rest) = read::<Vec<Unit>>(&[0xc0, 0x84, 0x3d]).unwrap();
        assert_eq!((units.len(), rest), (1_000_000, &[][..]));
    }

    #[test]
    fn a_value_that_is_all_elements_is_read() {
        // As deep and as wide as elements can be for their bytes: each is a list of one that is empty.
        let mut bytes = vec![100];
        bytes.extend([1, 0].repeat(100));
        let (lists, rest) = read::<Vec<Vec<Vec<Unit>>>>(&bytes).unwrap();
        assert_eq!((lists.len(), rest), (100, &[][..]));
    }
}
