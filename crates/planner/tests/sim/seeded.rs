//! Numbers that look random and are the same in every run (SplitMix64).

/// A row of numbers, by seed.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(limit.max(1))).expect("below a u32")
    }

    /// A number from one to another, both included.
    pub fn within(&mut self, from: u32, to: u32) -> u32 {
        from + self.below(to - from + 1)
    }

    /// A place in a list of so many.
    pub fn place(&mut self, of: usize) -> usize {
        self.below(u32::try_from(of).expect("a short list")) as usize
    }
}
