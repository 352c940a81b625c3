//! Sliding windows: sizes, padding, and the guards that gather.

use netsor_ir::{Guard, Index, Relation};

use super::Border;

/// Most taps along one axis, so that no list of layers can ask for endless sums.
const MAX_TAPS: u32 = 1 << 12;

/// A window along one axis of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Positions of the input.
    pub(super) size: u32,
    /// Positions that the window covers.
    pub(super) taps: u32,
    /// Distance between neighbouring windows.
    pub(super) stride: u32,
    /// What lies beyond the border.
    pub(super) border: Border,
}

impl Window {
    /// Checks the sizes; the error says what was expected.
    pub(super) fn check(self) -> Result<Self, String> {
        if self.taps == 0 || MAX_TAPS < self.taps {
            return Err(format!("a window of 1 to {MAX_TAPS} positions"));
        }
        if self.stride == 0 {
            return Err("a stride of at least 1".into());
        }
        if self.border == Border::Valid && self.size < self.taps {
            return Err(format!("at least {} positions", self.taps));
        }
        Ok(self)
    }

    /// Positions of the output.
    pub(super) fn outputs(self) -> u32 {
        match self.border {
            Border::Valid => (self.size - self.taps) / self.stride + 1,
            Border::Same | Border::Circular => self.size.div_ceil(self.stride),
        }
    }

    /// Zeros (or positions of the other side) before the first position.
    pub(super) fn before(self) -> i64 {
        match self.border {
            Border::Valid => 0,
            Border::Same | Border::Circular => {
                let covered = i64::from(self.outputs() - 1) * i64::from(self.stride) + i64::from(self.taps);
                (covered - i64::from(self.size)).max(0) / 2
            }
        }
    }

    /// `input = stride * output + tap - before`, modulo the size if the border is circular.
    pub(super) fn guard(self, input: Index, output: Index, tap: Index) -> Guard {
        let relation = match self.border {
            Border::Circular => Relation::EqMod(self.size),
            Border::Valid | Border::Same => Relation::Eq,
        };
        Guard::new(relation, [(1, input), (-i64::from(self.stride), output), (-1, tap)], self.before())
    }

    /// How many taps of the window at `output` are inside.
    pub(super) fn inside(self, output: u32) -> u32 {
        if self.border == Border::Circular {
            return self.taps;
        }
        let first = i64::from(output) * i64::from(self.stride) - self.before();
        (0..i64::from(self.taps)).filter(|tap| (0..i64::from(self.size)).contains(&(first + tap))).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_padding_follow_xla() {
        let window = |size, taps, stride, border| Window { size, taps, stride, border };
        let same = window(6, 3, 2, Border::Same);
        // 2 * 2 + 3 - 6 = 1 zero, put at the end.
        assert_eq!((same.outputs(), same.before()), (3, 0));
        assert_eq!([0, 1, 2].map(|p| same.inside(p)), [3, 3, 2]);
        let odd = window(7, 3, 1, Border::Same);
        assert_eq!((odd.outputs(), odd.before(), odd.inside(0)), (7, 1, 2));
        assert_eq!(window(6, 4, 2, Border::Valid).outputs(), 2);
        assert!(window(2, 3, 1, Border::Valid).check().is_err());
        assert!(window(2, 3, 0, Border::Same).check().is_err());
    }
}
