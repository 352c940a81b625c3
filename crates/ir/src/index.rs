//! The index algebra: index terms, and the guards that relate them.
//!
//! A family is indexed by variables that range over named finite axes. A reference carries one [`Index`] per axis of
//! the family; a reduction binds variables and restricts them by [`Guard`]s. Because a guard is a *relation* between
//! indices rather than a function from one to another, a gather, its transpose (a scatter) and their compositions are
//! all written the same way, which is what keeps the language closed under back-propagation.

mod assignments;

use smallvec::SmallVec;

pub use assignments::{for_each_assignment, for_each_assignment_of};

/// One index of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Index {
    /// A free variable. In an instruction, `Var(k)` is the `k`-th index of the value being defined.
    Var(u32),
    /// A variable bound by an enclosing sum, numbered canonically (see [`crate::expr`]).
    Bound(u32),
    /// A fixed position, counted from 0.
    At(u32),
}

/// The indices of one reference.
pub type Indices = SmallVec<[Index; 4]>;

/// How the two sides of a guard are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Relation {
    /// `sum = 0`
    Eq,
    /// `sum <= 0`
    Le,
    /// `sum = 0` modulo the number, for circular shifts.
    EqMod(u32),
}

/// A condition `c_1 i_1 + ... + c_k i_k + constant REL 0` between index terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guard {
    relation: Relation,
    terms: SmallVec<[(i64, Index); 4]>,
    constant: i64,
}

/// What is known of a guard without values for its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It always holds.
    Always,
    /// It never holds.
    Never,
    /// It depends on the variables.
    Depends,
}

impl Guard {
    /// The guard `terms + constant REL 0` in canonical form: positions folded into the constant, equal variables
    /// joined, variables sorted, and an equation's first coefficient positive.
    ///
    /// Coefficients that do not fit are put to the nearest number that does; the verifier refuses them.
    pub fn new(relation: Relation, terms: impl IntoIterator<Item = (i64, Index)>, mut constant: i64) -> Self {
        let mut joined: SmallVec<[(i64, Index); 4]> = SmallVec::new();
        for (coefficient, index) in terms {
            match index {
                Index::At(position) => constant = multiply_add(coefficient, position, constant),
                _ => match joined.iter_mut().find(|(_, i)| *i == index) {
                    Some((c, _)) => *c = c.saturating_add(coefficient),
                    None => joined.push((coefficient, index)),
                },
            }
        }
        joined.retain(|(c, _)| *c != 0);
        joined.sort_by_key(|&(_, index)| index);
        let flip = !matches!(relation, Relation::Le)
            && joined.first().map_or(constant < 0, |&(coefficient, _)| coefficient < 0);
        if flip {
            joined.iter_mut().for_each(|(c, _)| *c = c.saturating_neg());
            constant = constant.saturating_neg();
        }
        if let Relation::EqMod(modulus) = relation
            && modulus != 0
        {
            constant = constant.rem_euclid(i64::from(modulus));
        }
        Self { relation, terms: joined, constant }
    }

    /// The guard `a = b`.
    pub fn equal(a: Index, b: Index) -> Self {
        Self::new(Relation::Eq, [(1, a), (-1, b)], 0)
    }

    /// The relation to zero.
    pub fn relation(&self) -> Relation {
        self.relation
    }

    /// The variables with their coefficients, sorted by variable.
    pub fn terms(&self) -> &[(i64, Index)] {
        &self.terms
    }

    /// The constant on the left-hand side.
    pub fn constant(&self) -> i64 {
        self.constant
    }

    /// The guard with every index replaced by `f(index)`.
    pub fn map(&self, mut f: impl FnMut(Index) -> Index) -> Self {
        Self::new(self.relation, self.terms.iter().map(|&(c, i)| (c, f(i))), self.constant)
    }

    /// What is known without values for the variables.
    pub fn truth(&self) -> Truth {
        if !self.terms.is_empty() {
            return Truth::Depends;
        }
        let holds = match self.relation {
            Relation::Eq => self.constant == 0,
            Relation::Le => self.constant <= 0,
            Relation::EqMod(modulus) => modulus != 0 && self.constant.rem_euclid(i64::from(modulus)) == 0,
        };
        if holds { Truth::Always } else { Truth::Never }
    }

    /// If the guard is the equation `a = b` between two index terms, these two.
    pub fn as_equality(&self) -> Option<(Index, Index)> {
        match (self.relation, &self.terms[..], self.constant) {
            (Relation::Eq, &[(1, a), (-1, b)], 0) => Some((a, b)),
            (Relation::Eq, &[(1, a)], c) if c <= 0 => Some((a, Index::At(u32::try_from(-c).ok()?))),
            _ => None,
        }
    }

    /// Whether `index` occurs.
    pub fn mentions(&self, index: Index) -> bool {
        self.terms.iter().any(|&(_, i)| i == index)
    }
}

/// `coefficient * position + constant`, or the nearest number that fits.
fn multiply_add(coefficient: i64, position: u32, constant: i64) -> i64 {
    coefficient.saturating_mul(i64::from(position)).saturating_add(constant)
}

/// The position that an index term stands for: `at[k]` for `Var(k)`, `bound[b]` for `Bound(b)`.
pub fn position(index: Index, at: &[u32], bound: &[u32]) -> Option<u32> {
    match index {
        Index::At(p) => Some(p),
        Index::Var(k) => at.get(k as usize).copied(),
        Index::Bound(b) => bound.get(b as usize).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_canonical() {
        let (p, q) = (Index::Var(0), Index::Var(1));
        assert_eq!(Guard::equal(p, q), Guard::equal(q, p));
        let a = Guard::new(Relation::Eq, [(1, q), (-2, p), (1, Index::At(3))], -2);
        let b = Guard::new(Relation::Eq, [(2, p), (-1, q)], -1);
        assert_eq!(a, b);
        assert_eq!(Guard::equal(Index::At(1), Index::At(2)).truth(), Truth::Never);
        assert_eq!(Guard::equal(Index::At(2), Index::At(2)).truth(), Truth::Always);
        assert_eq!(Guard::new(Relation::EqMod(4), [], 8).truth(), Truth::Always);
        assert_eq!(Guard::new(Relation::Eq, [(1, p)], -2).as_equality(), Some((p, Index::At(2))));
    }
}
