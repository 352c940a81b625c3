//! The index algebra: index terms, and the guards that relate them.
//!
//! A family is indexed by variables that range over named finite axes. A reference carries one [`Index`] per axis of
//! the family; a reduction binds variables and restricts them by [`Guard`]s. Because a guard is a *relation* between
//! indices rather than a function from one to another, a gather, its transpose (a scatter) and their compositions are
//! all written the same way, which is what keeps the language closed under back-propagation.

use smallvec::SmallVec;

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

/// Calls `f` with every assignment of `bound[base..base + sizes.len()]` that satisfies the guards, in lexicographic
/// order. A variable that an equation determines from the ones before it is solved for, not searched.
///
/// Guards that mention an index without a value, neither in `at` nor in `bound`, are passed over.
pub fn for_each_assignment(
    sizes: &[u32],
    guards: &[Guard],
    base: usize,
    at: &[u32],
    bound: &mut Vec<u32>,
    f: &mut dyn FnMut(&[u32]),
) {
    let mut conditions: SmallVec<[Condition; 4]> = SmallVec::new();
    for guard in guards {
        let Some(condition) = Condition::new(guard, base, sizes.len(), at, bound) else { continue };
        match condition.last() {
            Some(_) => conditions.push(condition),
            None if holds(condition.relation, condition.constant) => {}
            None => return,
        }
    }
    search(0, sizes, &conditions, base, bound, f);
}

/// A guard over the searched variables, which are numbered by depth, with everything else in the constant.
struct Condition {
    relation: Relation,
    terms: SmallVec<[(i64, usize); 4]>,
    constant: i64,
}

impl Condition {
    fn new(guard: &Guard, base: usize, depths: usize, at: &[u32], bound: &[u32]) -> Option<Self> {
        let mut condition = Self { relation: guard.relation, terms: SmallVec::new(), constant: guard.constant };
        for &(coefficient, index) in &guard.terms {
            match index {
                Index::Bound(b) if (base..base + depths).contains(&(b as usize)) => {
                    condition.terms.push((coefficient, b as usize - base));
                }
                _ => condition.constant = multiply_add(coefficient, position(index, at, bound)?, condition.constant),
            }
        }
        Some(condition)
    }

    /// The depth at which every variable has a value.
    fn last(&self) -> Option<usize> {
        self.terms.iter().map(|&(_, depth)| depth).max()
    }

    /// The coefficient of the variable at `depth`, and the sum of everything before it.
    fn split(&self, depth: usize, values: &[u32]) -> (i64, i64) {
        let mut coefficient = 0;
        let mut sum = self.constant;
        for &(c, d) in &self.terms {
            if d == depth {
                coefficient = c;
            } else {
                sum = multiply_add(c, values[d], sum);
            }
        }
        (coefficient, sum)
    }
}

fn holds(relation: Relation, sum: i64) -> bool {
    match relation {
        Relation::Eq => sum == 0,
        Relation::Le => sum <= 0,
        Relation::EqMod(modulus) => modulus != 0 && sum.rem_euclid(i64::from(modulus)) == 0,
    }
}

fn search(
    depth: usize,
    sizes: &[u32],
    conditions: &[Condition],
    base: usize,
    bound: &mut Vec<u32>,
    f: &mut dyn FnMut(&[u32]),
) {
    if depth == sizes.len() {
        f(bound);
        return;
    }
    // The conditions that are decided here, as `coefficient * value + sum`.
    let decided = conditions.iter().filter(|c| c.last() == Some(depth));
    let mut here: SmallVec<[(Relation, i64, i64); 4]> = SmallVec::new();
    let (mut first, mut end, mut step) = (0, i64::from(sizes[depth]), 1);
    for condition in decided {
        let (coefficient, sum) = condition.split(depth, &bound[base..]);
        match condition.relation {
            Relation::Eq => {
                if sum.wrapping_rem(coefficient) != 0 {
                    return;
                }
                let value = sum.wrapping_div(coefficient).saturating_neg();
                (first, end) = (first.max(value), end.min(value.saturating_add(1)));
            }
            Relation::EqMod(modulus) if coefficient.abs() == 1 && modulus != 0 && step == 1 && first == 0 => {
                first = coefficient.saturating_neg().saturating_mul(sum).rem_euclid(i64::from(modulus));
                step = i64::from(modulus);
            }
            _ => {}
        }
        here.push((condition.relation, coefficient, sum));
    }
    let mut value = first;
    while value < end {
        if here
            .iter()
            .all(|&(relation, coefficient, sum)| holds(relation, coefficient.saturating_mul(value).saturating_add(sum)))
        {
            bound[base + depth] = value as u32;
            search(depth + 1, sizes, conditions, base, bound, f);
        }
        value += step;
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

    /// Guards that no verifier has seen: nothing overflows.
    #[test]
    fn absurd_coefficients_do_not_overflow() {
        for relation in [Relation::Eq, Relation::Le, Relation::EqMod(3)] {
            for coefficient in [i64::MIN, i64::MAX, -1, 1] {
                let terms = [
                    (coefficient, Index::At(u32::MAX)),
                    (coefficient, Index::Bound(0)),
                    (coefficient, Index::Bound(0)),
                ];
                let guard = Guard::new(relation, terms, i64::MIN).map(|i| i);
                let mut bound = vec![0];
                for_each_assignment(&[3], &[guard], 0, &[], &mut bound, &mut |_| ());
            }
        }
    }

    /// Against trying every assignment.
    #[test]
    fn assignments_are_those_that_satisfy_the_guards() {
        let bound = Index::Bound;
        let (at, sizes) = ([3, 1], [4, 3, 5]);
        let guards = [
            Guard::new(Relation::Eq, [(1, bound(3)), (-2, bound(1)), (-1, bound(2))], 1),
            Guard::new(Relation::Eq, [(2, bound(2)), (-1, Index::Var(1))], -1),
            Guard::new(Relation::Eq, [(2, bound(2)), (-1, Index::Var(1))], 0),
            Guard::new(Relation::Le, [(1, bound(1)), (-1, bound(3))], 0),
            Guard::new(Relation::EqMod(3), [(1, bound(3)), (-1, bound(1)), (1, Index::Var(0))], 1),
            Guard::new(Relation::EqMod(2), [(3, bound(2)), (1, bound(0))], 0),
            Guard::new(Relation::Le, [(1, Index::Var(0))], -3),
            Guard::new(Relation::Le, [(1, Index::Var(0))], -2),
            Guard::new(Relation::Eq, [(1, bound(2)), (1, Index::Var(7))], 0),
        ];
        for chosen in 0..1usize << guards.len() {
            let chosen: Vec<Guard> =
                guards.iter().enumerate().filter(|(k, _)| chosen >> k & 1 == 1).map(|(_, g)| g.clone()).collect();
            let mut expected = Vec::new();
            for flat in 0..sizes.iter().product::<u32>() {
                let values = vec![1, flat / 15, flat / 5 % 3, flat % 5];
                let fix = |i: Index| position(i, &at, &values).map_or(i, Index::At);
                if chosen.iter().all(|g| g.map(fix).truth() != Truth::Never) {
                    expected.push(values);
                }
            }
            let mut found = Vec::new();
            for_each_assignment(&sizes, &chosen, 1, &at, &mut vec![1, 0, 0, 0], &mut |b| found.push(b.to_vec()));
            assert_eq!(found, expected, "{chosen:?}");
        }
    }

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
