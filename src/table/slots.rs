//! The memory of a hash table. A large one is looked into all over: in huge pages,
//! where the system has them, a look does not also wait for the address.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// From so many bytes on huge pages are asked for: twice what the usual ones have.
const LARGE: usize = 4 << 20;

/// As many slots as were asked for, all zero in the beginning.
#[derive(Debug)]
pub(super) enum Slots {
    Few(Vec<u128>),
    Many(MmapMut),
}

impl Slots {
    pub(super) fn zeroed(count: usize) -> Self {
        let bytes = count * size_of::<u128>();
        let map = if bytes < LARGE { None } else { MmapMut::map_anon(bytes).ok() };
        let Some(map) = map else { return Self::Few(vec![0; count]) };
        // Without them it is slower, no more.
        #[cfg(target_os = "linux")]
        drop(map.advise(memmap2::Advice::HugePage));
        Self::Many(map)
    }
}

impl Deref for Slots {
    type Target = [u128];

    fn deref(&self) -> &[u128] {
        match self {
            Self::Few(slots) => slots,
            Self::Many(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Slots {
    fn deref_mut(&mut self) -> &mut [u128] {
        match self {
            Self::Few(slots) => slots,
            Self::Many(map) => bytemuck::cast_slice_mut(map),
        }
    }
}
