//! A few bytes, kept in place.

/// Up to `N` bytes; what is beyond is not kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Few<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Few<N> {
    pub(super) const EMPTY: Self = Self {
        bytes: [0; N],
        len: 0,
    };

    /// Adds what there is room for.
    #[inline(always)]
    pub(super) fn add(&mut self, more: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let taken = more.len().min(room.len());
        room[..taken].copy_from_slice(&more[..taken]);
        self.len += taken;
    }

    #[inline(always)]
    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    pub(super) fn cut(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}
