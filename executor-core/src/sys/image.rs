//! Where this crate's own code and constants are in memory: in the program, or in a library that was loaded at run time.

#[cfg(target_os = "linux")]
pub(crate) use elf::{Image, image};

/// Whether `size` bytes at `address` belong to the program, or the library, that this crate is part of.
pub(crate) fn is_in_program(address: usize, size: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        image().is_some_and(|image| {
            address >= image.start && address.checked_add(size).is_some_and(|last| last <= image.end)
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = size;
        address != 0
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "asks the dynamic linker")]
mod elf {
    use std::{
        ffi::{CStr, OsStr},
        os::unix::ffi::OsStrExt,
        path::PathBuf,
        slice,
    };

    use crate::sys::PerProcess;

    #[cfg(target_pointer_width = "64")]
    type Header = libc::Elf64_Phdr;
    #[cfg(target_pointer_width = "32")]
    type Header = libc::Elf32_Phdr;

    /// A program or library as the dynamic linker has loaded it.
    #[derive(Debug)]
    pub(crate) struct Image {
        /// From the first byte to the one after the last.
        pub(super) start: usize,
        pub(super) end: usize,
        /// Of a library; the program itself has none here.
        pub(crate) path: Option<PathBuf>,
        /// What the linker has written into it to tell it from every other build, if it has.
        pub(crate) build_id: Option<Vec<u8>>,
    }

    /// The one that this crate is part of. Symbols of the linker would say where it is as well, but only some linkers make them,
    /// and not for libraries.
    pub(crate) fn image() -> Option<&'static Image> {
        // No thread waits for another one that looks: in a forked copy that one may be missing.
        static IMAGE: PerProcess<Option<Image>> = PerProcess::new(find);
        IMAGE.get().as_ref()
    }

    fn find() -> Option<Image> {
        let mut found: Option<Image> = None;
        // SAFETY: the callback has the type that is asked for, and gets the place of `found`, which outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(look_at), (&raw mut found).cast()) };
        found
    }

    unsafe extern "C" fn look_at(
        info: *mut libc::dl_phdr_info,
        _: libc::size_t,
        found: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the dynamic linker hands a valid one.
        let info = unsafe { &*info };
        // SAFETY: `find` has passed this address of its own variable with the callback, and does not use that meanwhile.
        let found = unsafe { &mut *found.cast::<Option<Image>>() };
        // SAFETY: the headers are as many as it says, and stay as long as the object is loaded.
        let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let place = |header: &Header| (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        let loaded = || headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let end = |header: &Header| place(header).wrapping_add(header.p_memsz as usize);
        let own = (image as fn() -> Option<&'static Image>) as usize;
        if !loaded().any(|header| (place(header)..end(header)).contains(&own)) {
            return 0;
        }
        let name = if info.dlpi_name.is_null() {
            c""
        } else {
            // SAFETY: a string that stays as long as the object is loaded.
            unsafe { CStr::from_ptr(info.dlpi_name) }
        };
        let notes = headers.iter().filter(|header| header.p_type == libc::PT_NOTE);
        let build_id = notes.into_iter().find_map(|header| {
            // SAFETY: notes are part of what is loaded, and no code writes to them.
            build_id(unsafe { slice::from_raw_parts(place(header) as *const u8, header.p_memsz as usize) })
        });
        *found = Some(Image {
            start: loaded().map(place).min().unwrap_or(0),
            end: loaded().map(end).max().unwrap_or(0),
            path: (!name.is_empty()).then(|| OsStr::from_bytes(name.to_bytes()).into()),
            build_id,
        });
        1
    }

    /// The build's number among these notes. Each has the length of its name and of its content, a kind, and then both, in
    /// multiples of four bytes.
    fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
        const BUILD_ID: u32 = 3;
        loop {
            let (header, rest) = notes.split_at_checked(12)?;
            let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (name_length, length, kind) = (word(0) as usize, word(4) as usize, word(8));
            let (name, rest) = rest.split_at_checked(name_length.next_multiple_of(4))?;
            let content = rest.get(..length)?;
            if kind == BUILD_ID && name.starts_with(b"GNU\0") {
                return Some(content.to_vec());
            }
            notes = rest.get(length.next_multiple_of(4)..)?;
        }
    }

    #[cfg(all(test, not(miri), not(loom)))]
    mod tests {
        use super::*;

        #[test]
        fn the_own_code_and_constants_are_in_the_own_image_and_others_are_not() {
            static CONSTANT: [u64; 4] = [1, 2, 3, 4];
            let image = image().unwrap();
            let of_this_program = [find as fn() -> Option<Image> as usize, (&raw const CONSTANT).addr()];
            assert!(of_this_program.iter().all(|address| (image.start..image.end).contains(address)), "{image:x?}");
            let of_others =
                [libc::getppid as *const () as usize, (&raw const image).addr(), Box::into_raw(Box::new(1)).addr()];
            assert!(of_others.iter().all(|address| !(image.start..image.end).contains(address)), "{image:x?}");
            assert_eq!(image.path, None);
        }

        #[test]
        fn notes_may_end_anywhere() {
            let note = |kind: u32, content: &[u8]| {
                let mut note: Vec<u8> =
                    [4, content.len() as u32, kind].iter().flat_map(|word| word.to_ne_bytes()).collect();
                note.extend_from_slice(b"GNU\0");
                note.extend_from_slice(content);
                note
            };
            let notes = [note(1, &[0; 16]), note(3, &[7; 20])].concat();
            assert_eq!(build_id(&notes), Some(vec![7; 20]));
            assert!((0..notes.len()).all(|end| build_id(&notes[..end]).is_none()));
        }
    }
}
