//! The assignments that satisfy guards.
//!
//! A guard says that an affine form of the variables lies in an interval: `[0, 0]` for an equation, everything up to 0
//! for an inequality, and a multiple of the modulus for a congruence, of which the range of the form often leaves one.
//! So the search keeps an interval for each variable and narrows it by every guard in turn until nothing changes
//! (bounds consistency, as in constraint programming). What equations determine is thereby solved for, and what cannot
//! be completed is left before it is entered: for the guards of convolutions, strides, padding and pooling the work
//! grows with the number of assignments that are found, not with the number of those that are not.

use smallvec::SmallVec;

use super::{Guard, Index, Relation, multiply_add, position};

/// Calls `f` with every assignment of `bound[base..base + sizes.len()]` that satisfies the guards, in lexicographic
/// order.
///
/// Guards that mention an index without a value, neither in `at` nor in `bound`, are passed over.
///
/// ```
/// use netsor_ir::Index;
/// use netsor_ir::index::{Guard, Relation, for_each_assignment};
///
/// // A convolution with stride 2: the positions q = 2 p + k - 1 that output p = 3 sees through a window of 3.
/// let seen = [(1, Index::Bound(0)), (-2, Index::Var(0)), (-1, Index::Bound(1))];
/// let guard = Guard::new(Relation::Eq, seen, 1);
/// let mut found = Vec::new();
/// for_each_assignment(&[8, 3], &[guard], 0, &[3], &mut vec![0, 0], &mut |qk| found.push(qk.to_vec()));
/// assert_eq!(found, [[5, 0], [6, 1], [7, 2]]);
/// ```
pub fn for_each_assignment(
    sizes: &[u32],
    guards: &[Guard],
    base: usize,
    at: &[u32],
    bound: &mut Vec<u32>,
    f: &mut dyn FnMut(&[u32]),
) {
    let variables: SmallVec<[(usize, u32); 8]> = sizes.iter().enumerate().map(|(k, &size)| (base + k, size)).collect();
    for_each_assignment_of(&variables, guards, at, bound, f);
}

/// [`for_each_assignment`] of bound variables that need not follow each other: their numbers and sizes, in the order in
/// which they are compared. `bound` has a place for each.
pub fn for_each_assignment_of(
    variables: &[(usize, u32)],
    guards: &[Guard],
    at: &[u32],
    bound: &mut Vec<u32>,
    f: &mut dyn FnMut(&[u32]),
) {
    let mut conditions: SmallVec<[Condition; 8]> = SmallVec::new();
    for guard in guards {
        let Some(condition) = Condition::new(guard, variables, at, bound) else { continue };
        match condition.last() {
            Some(_) => conditions.push(condition),
            None if condition.target(condition.constant, condition.constant).is_some() => {}
            None => return,
        }
    }
    if variables.iter().any(|&(_, size)| size == 0) {
        return;
    }
    // At a depth only conditions with a variable there or further down are of interest.
    conditions.sort_by_key(|c| std::cmp::Reverse(c.last()));
    let all: Intervals = variables.iter().map(|&(_, size)| (0, i64::from(size) - 1)).collect();
    let mut search = Search { conditions: &conditions, variables, bound, f };
    search.from(0, all);
}

/// Below what the form of a guard that was verified can be, with room for subtractions.
const LEAST: i64 = i64::MIN / 2;

/// The least and the largest value of each variable.
type Intervals = SmallVec<[(i64, i64); 8]>;

/// A guard over the searched variables, which are numbered by depth, with everything else in the constant.
struct Condition {
    relation: Relation,
    terms: SmallVec<[(i64, usize); 4]>,
    constant: i64,
}

/// What narrowing did.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Narrowed {
    /// No assignment is left.
    Empty,
    Yes,
    No,
}

impl Condition {
    fn new(guard: &Guard, variables: &[(usize, u32)], at: &[u32], bound: &[u32]) -> Option<Self> {
        let mut condition = Self { relation: guard.relation, terms: SmallVec::new(), constant: guard.constant };
        for &(coefficient, index) in &guard.terms {
            let depth = variables.iter().position(|&(number, _)| index == Index::Bound(number as u32));
            match depth {
                Some(depth) => condition.terms.push((coefficient, depth)),
                None => condition.constant = multiply_add(coefficient, position(index, at, bound)?, condition.constant),
            }
        }
        Some(condition)
    }

    /// The depth at which every variable has a value.
    fn last(&self) -> Option<usize> {
        self.terms.iter().map(|&(_, depth)| depth).max()
    }

    /// The interval in which the form must lie if it lies between `least` and `most`; `None` if it cannot.
    fn target(&self, least: i64, most: i64) -> Option<(i64, i64)> {
        let target = match self.relation {
            Relation::Eq => (0, 0),
            Relation::Le => (LEAST, 0),
            Relation::EqMod(0) => return None,
            Relation::EqMod(modulus) => {
                let modulus = i64::from(modulus);
                // The multiples next to the ends.
                let first = least.saturating_add((least.saturating_neg()).rem_euclid(modulus));
                (first, most.saturating_sub(most.rem_euclid(modulus)))
            }
        };
        (target.0 <= target.1 && least <= target.1 && target.0 <= most).then_some(target)
    }

    /// Narrows the intervals of the variables to what the others leave them.
    fn narrow(&self, intervals: &mut [(i64, i64)]) -> Narrowed {
        let (mut least, mut most) = (self.constant, self.constant);
        for &(c, depth) in &self.terms {
            let (a, b) = product(c, intervals[depth]);
            (least, most) = (least.saturating_add(a), most.saturating_add(b));
        }
        let Some((first, last)) = self.target(least, most) else { return Narrowed::Empty };
        if first <= least && most <= last {
            return Narrowed::No;
        }
        let mut narrowed = Narrowed::No;
        for &(c, depth) in &self.terms {
            let (low, high) = intervals[depth];
            let (a, b) = product(c, (low, high));
            // first <= c x + others <= last, where the others lie between the extremes without this term.
            let (others_least, others_most) = (least.saturating_sub(a), most.saturating_sub(b));
            let (x, y) = (first.saturating_sub(others_most), last.saturating_sub(others_least));
            let (x, y) = if 0 < c { (ceil(x, c), floor(y, c)) } else { (ceil(y, c), floor(x, c)) };
            let (x, y) = (x.max(low), y.min(high));
            if y < x {
                return Narrowed::Empty;
            }
            if (x, y) != (low, high) {
                intervals[depth] = (x, y);
                narrowed = Narrowed::Yes;
                let (c, d) = product(c, (x, y));
                (least, most) = (others_least.saturating_add(c), others_most.saturating_add(d));
            }
        }
        narrowed
    }
}

struct Search<'a> {
    conditions: &'a [Condition],
    variables: &'a [(usize, u32)],
    bound: &'a mut Vec<u32>,
    f: &'a mut dyn FnMut(&[u32]),
}

impl Search<'_> {
    /// Assigns the variables from `depth` on; those before have intervals of one value, the last of them a new one.
    fn from(&mut self, depth: usize, mut intervals: Intervals) {
        // The others hold: their variables had one value each when all guards were narrowed the last time.
        let open = self.conditions.iter().take_while(|c| c.last().is_some_and(|last| depth <= last + 1)).count();
        if !narrow_all(&self.conditions[..open], &mut intervals) {
            return;
        }
        let free = (depth..intervals.len()).find(|&d| intervals[d].0 < intervals[d].1);
        let Some(free) = free else {
            for (&(number, _), &(value, _)) in self.variables.iter().zip(&intervals) {
                self.bound[number] = value as u32;
            }
            (self.f)(self.bound);
            return;
        };
        let (low, high) = intervals[free];
        for value in low..=high {
            intervals[free] = (value, value);
            self.from(free + 1, intervals.clone());
        }
    }
}

/// Narrows by all conditions until nothing changes; whether something is left. Intervals of one value then satisfy every
/// condition over them.
fn narrow_all(conditions: &[Condition], intervals: &mut [(i64, i64)]) -> bool {
    // Since the condition at which this last happened nothing has changed.
    let mut unchanged = 0;
    for condition in conditions.iter().cycle() {
        match condition.narrow(intervals) {
            Narrowed::Empty => return false,
            Narrowed::Yes => unchanged = 0,
            Narrowed::No => unchanged += 1,
        }
        if unchanged == conditions.len() {
            break;
        }
    }
    true
}

/// The least and the largest value of `coefficient * x` for `x` in an interval.
fn product(coefficient: i64, (low, high): (i64, i64)) -> (i64, i64) {
    let (a, b) = (coefficient.saturating_mul(low), coefficient.saturating_mul(high));
    if 0 <= coefficient { (a, b) } else { (b, a) }
}

/// `a / b` rounded down.
fn floor(a: i64, b: i64) -> i64 {
    let exact = a.wrapping_rem(b) == 0;
    a.saturating_div(b) - i64::from(!exact && (a < 0) != (b < 0))
}

/// `a / b` rounded up.
fn ceil(a: i64, b: i64) -> i64 {
    let exact = a.wrapping_rem(b) == 0;
    a.saturating_div(b) + i64::from(!exact && (a < 0) == (b < 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Truth;

    /// Guards that no verifier has seen: nothing overflows.
    #[test]
    fn absurd_coefficients_do_not_overflow() {
        for relation in [Relation::Eq, Relation::Le, Relation::EqMod(3), Relation::EqMod(0)] {
            for coefficient in [i64::MIN, i64::MAX, -1, 1] {
                let terms = [
                    (coefficient, Index::At(u32::MAX)),
                    (coefficient, Index::Bound(0)),
                    (coefficient, Index::Bound(0)),
                ];
                for constant in [i64::MIN, i64::MAX] {
                    let guard = Guard::new(relation, terms, constant).map(|i| i);
                    let mut bound = vec![0];
                    for_each_assignment(&[3], &[guard], 0, &[], &mut bound, &mut |_| ());
                }
            }
        }
    }

    /// Every assignment tried.
    fn brute(sizes: &[u32], guards: &[Guard], base: usize, at: &[u32], bound: &[u32]) -> Vec<Vec<u32>> {
        let count: u32 = sizes.iter().product();
        let mut found = Vec::new();
        for mut flat in 0..count {
            let mut values = bound.to_vec();
            for (k, &size) in sizes.iter().enumerate().rev() {
                values[base + k] = flat % size;
                flat /= size;
            }
            let fix = |i: Index| position(i, at, &values).map_or(i, Index::At);
            if guards.iter().all(|g| g.map(fix).truth() != Truth::Never) {
                found.push(values);
            }
        }
        found
    }

    #[track_caller]
    fn check(sizes: &[u32], guards: &[Guard], base: usize, at: &[u32], bound: &[u32]) -> usize {
        let expected = brute(sizes, guards, base, at, bound);
        let mut found = Vec::new();
        for_each_assignment(sizes, guards, base, at, &mut bound.to_vec(), &mut |b| found.push(b.to_vec()));
        assert_eq!(found, expected, "{sizes:?} {guards:?} at {at:?} {bound:?}");
        found.len()
    }

    /// Against trying every assignment, for every choice among guards of all kinds.
    #[test]
    fn assignments_are_those_that_satisfy_the_guards() {
        let bound = Index::Bound;
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
            check(&[4, 3, 5], &chosen, 1, &[3, 1], &[1, 0, 0, 0]);
        }
    }

    /// Against trying every assignment, for random guards over up to five variables.
    #[test]
    fn random_guards() {
        // A linear congruential generator (Knuth, MMIX): this crate draws no random numbers otherwise.
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let (mut cases, mut found) = (0, 0);
        for _ in 0..4000 {
            let n = below(6) as usize;
            let sizes: Vec<u32> = (0..n).map(|_| [1, 2, 3, 4, 7][below(5) as usize]).collect();
            let guards: Vec<Guard> = (0..below(5))
                .map(|_| {
                    let relation = match below(4) {
                        0 => Relation::Le,
                        1 => Relation::EqMod(below(6) as u32),
                        _ => Relation::Eq,
                    };
                    let terms: Vec<(i64, Index)> = (0..=below(3))
                        .map(|_| {
                            let index = match below(8) {
                                0 => Index::Var(below(2) as u32),
                                1 => Index::Bound(0),
                                _ => Index::Bound(1 + below(n.max(1) as u64) as u32),
                            };
                            (below(7) as i64 - 3, index)
                        })
                        .collect();
                    Guard::new(relation, terms, below(9) as i64 - 4)
                })
                .collect();
            let mut bound = vec![2];
            bound.resize(1 + n.max(1), 0);
            let satisfied = check(&sizes, &guards, 1, &[3, 1], &bound);
            found += satisfied;
            cases += usize::from(satisfied != 0);
        }
        // Neither all empty nor all unrestricted.
        assert!(1000 < cases && 4 * cases < found, "{cases} {found}");
    }

    #[test]
    fn no_variables_and_empty_axes() {
        assert_eq!(check(&[], &[], 0, &[], &[]), 1);
        let never = Guard::new(Relation::Eq, [], 1);
        assert_eq!(check(&[], &[never], 0, &[], &[]), 0);
        assert_eq!(check(&[3, 0, 2], &[], 0, &[], &[0, 0, 0]), 0);
    }

    /// What cannot be completed is not entered: a chain of convolutions and a pooling, with the guards in an order in which
    /// the last variables decide.
    #[test]
    fn work_grows_with_what_is_found() {
        let bound = Index::Bound;
        let (n, w) = (200, 3);
        // q = p + k - 1, r = q + l - 1, r = 2 s + t for p, s, q, r, k, l, t.
        let guards = [
            Guard::new(Relation::Eq, [(1, bound(2)), (-1, bound(0)), (-1, bound(4))], 1),
            Guard::new(Relation::Eq, [(1, bound(3)), (-1, bound(2)), (-1, bound(5))], 1),
            Guard::new(Relation::Eq, [(1, bound(3)), (-2, bound(1)), (-1, bound(6))], 0),
        ];
        let sizes = [n, n / 2, n, n, w, w, 2];
        let mut found = 0;
        // Trying every assignment of the first two variables alone would be 20,000 times all that follow.
        for_each_assignment(&sizes, &guards, 0, &[], &mut vec![0; 7], &mut |_| found += 1);
        // Every p has 9 pairs (k, l), but 5 at the ends of the line and 8 beside them; r decides s and t.
        assert_eq!(found, 9 * n as usize - 2 * (4 + 1));
    }
}
