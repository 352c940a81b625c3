//! Typed ids into append-only pools.
//!
//! An [`Id<T>`] is an index that remembers what it indexes, so that the id of an expression cannot be used where the
//! id of a value is meant. Pools only grow, and a child is always added before its parent: every analysis is one
//! forward loop and no cycle can be built.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// The position of a `T` in its pool.
pub struct Id<T> {
    raw: u32,
    marker: PhantomData<fn() -> T>,
}

impl<T> Id<T> {
    /// The id at `index`.
    ///
    /// # Panics
    /// If a pool holds more than `u32::MAX` items, which memory rules out first.
    pub fn new(index: usize) -> Self {
        let raw = u32::try_from(index).expect("a pool never holds 2^32 items");
        Self { raw, marker: PhantomData }
    }

    /// The position as an index into a slice.
    pub fn index(self) -> usize {
        self.raw as usize
    }
}

impl<T> Clone for Id<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Id<T> {}
impl<T> PartialEq for Id<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<T> Eq for Id<T> {}
impl<T> PartialOrd for Id<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Id<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<T> Hash for Id<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<T> fmt::Debug for Id<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.raw)
    }
}
