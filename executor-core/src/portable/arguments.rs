//! [`Items`]: the arguments of a chunk's items on their way to a worker.

/// The encoded items of a chunk, each with its length before it.
#[derive(Debug, Clone)]
pub(crate) struct Items<'a>(pub(crate) &'a [u8]);

impl<'a> Items<'a> {
    /// Starts an item; [`end`](Self::end) puts its length in.
    pub(crate) fn begin(output: &mut Vec<u8>) -> usize {
        output.extend_from_slice(&[0; 4]);
        output.len()
    }

    /// The bytes of the last `count` items.
    pub(crate) fn last_ones(mut self, count: usize) -> &'a [u8] {
        let all = self.clone().count();
        for _ in count..all {
            self.next();
        }
        self.0
    }

    /// Ends the item that began at `start`. One that is too long is an error.
    pub(crate) fn end(output: &mut [u8], start: usize) -> Result<(), String> {
        let length = u32::try_from(output.len() - start).map_err(|_| "it is longer than 4 GiB".to_owned())?;
        output[start - 4..start].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(item)
    }
}
