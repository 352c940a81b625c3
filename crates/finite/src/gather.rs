//! Where the members of a family find the members of another: by strides, once for the whole family.

use netsor_ir::index::{Index, Indices};
use netsor_ir::program::{Program, ValueId};

use crate::FiniteError;
use crate::state::{locate, malformed};

/// For a reference `target[indices]` in a family, the member of the target as an affine function of the positions.
#[derive(Clone, Debug)]
pub(crate) struct Strides {
    start: usize,
    /// The size of each axis of the family, and the stride of the target along it.
    axes: Vec<(usize, usize)>,
}

impl Strides {
    /// The strides of a reference in the family of `consumer`, whose axes have these sizes.
    ///
    /// # Errors
    /// If the reference has an index without value, or one beyond its axis.
    pub(crate) fn of(
        program: &Program,
        consumer: ValueId,
        target: ValueId,
        indices: &Indices,
        sizes: &[usize],
    ) -> Result<Self, FiniteError> {
        // The last member has the largest position on every axis: if it is there, all are.
        let last: Vec<u32> = sizes.iter().map(|&size| size.saturating_sub(1) as u32).collect();
        locate(program, consumer, target, indices, &last)?;
        let mut axes: Vec<(usize, usize)> = sizes.iter().map(|&size| (size, 0)).collect();
        let (mut start, mut stride) = (0, 1);
        for (&axis, &index) in program.value(target).ty.family.iter().zip(indices).rev() {
            match index {
                Index::At(position) => start += stride * position as usize,
                Index::Var(k) => axes[k as usize].1 += stride,
                Index::Bound(_) => return Err(malformed(program, consumer, format!("{index:?} has no value"))),
            }
            stride *= program.axis_size(axis) as usize;
        }
        Ok(Self { start, axes })
    }

    /// The member of the target for one member of the family.
    pub(crate) fn at(&self, mut member: usize) -> usize {
        let mut found = self.start;
        for &(size, stride) in self.axes.iter().rev() {
            found += (member % size) * stride;
            member /= size;
        }
        found
    }

    /// Whether every member finds the one of its own number.
    pub(crate) fn is_identity(&self) -> bool {
        let mut natural = 1;
        let in_order = |&(size, stride): &(usize, usize)| {
            let fits = size == 1 || stride == natural;
            natural *= size;
            fits
        };
        self.start == 0 && self.axes.iter().rev().all(in_order)
    }

    /// Whether all members find the same one.
    pub(crate) fn is_constant(&self) -> bool {
        self.axes.iter().all(|&(size, stride)| size == 1 || stride == 0)
    }

    /// The member of the target for every member of the family, in order.
    pub(crate) fn members(&self) -> impl Iterator<Item = usize> + use<'_> {
        let count: usize = self.axes.iter().map(|&(size, _)| size).product();
        let mut at = vec![0; self.axes.len()];
        let mut member = self.start;
        (0..count).map(move |_| {
            let found = member;
            for (position, &(size, stride)) in at.iter_mut().zip(&self.axes).rev() {
                *position += 1;
                member += stride;
                if *position < size {
                    break;
                }
                member -= size * stride;
                *position = 0;
            }
            found
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::positions;
    use netsor_ir::syntax::parse_program;

    /// Every member against `locate`, for repeated, fixed and exchanged indices.
    #[test]
    fn strides_find_what_locate_finds() {
        let program = parse_program(
            "program p {\n axis i = 2\n axis j = 3\n axis k = 4
               vector x[k, i, j] ~ N(0, 1)
               y[i, j, k] = x[k, i, j] }",
        )
        .unwrap();
        let (x, y) = (program.find("x").unwrap(), program.find("y").unwrap());
        let sizes = program.family_sizes(y);
        let (v, at) = (Index::Var, Index::At);
        let cases =
            [[v(2), v(0), v(1)], [at(3), v(0), v(0)], [v(1), at(1), v(1)], [v(2), at(0), at(2)], [at(3), at(1), at(0)]];
        for indices in cases {
            let indices: Indices = indices.into_iter().collect();
            let found: Vec<usize> = Strides::of(&program, y, x, &indices, &sizes).unwrap().members().collect();
            let expected: Vec<usize> =
                (0..24).map(|m| locate(&program, y, x, &indices, &positions(&sizes, m)).unwrap()).collect();
            assert_eq!(found, expected);
            let strides = Strides::of(&program, y, x, &indices, &sizes).unwrap();
            assert!((0..24).all(|m| strides.at(m) == expected[m]), "{indices:?}");
            assert_eq!(strides.is_identity(), (0..24).all(|m| expected[m] == m));
            assert_eq!(strides.is_constant(), expected.iter().all(|&m| m == expected[0]));
        }
        let own: Indices = [v(0), v(1), v(2)].into_iter().collect();
        assert!(Strides::of(&program, y, y, &own, &sizes).unwrap().is_identity());
        let beyond: Indices = [v(2), v(2), v(1)].into_iter().collect();
        assert!(Strides::of(&program, y, x, &beyond, &sizes).is_err());
    }
}
