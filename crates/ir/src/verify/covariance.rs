//! Covariances of initial vectors, exactly: symmetric and positive semi-definite where their entries are rational
//! constants. Where they are not (data, irrational powers), the engines check with numbers.

use num_traits::{Signed, Zero};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{MAX_BITS, Place, Problem, Verifier};
use crate::expr::{Expr as Node, ExprId, Exprs};
use crate::func::Func;
use crate::index::{Index, Relation};
use crate::number::{Number, print as print_number};
use crate::program::{Instr, Law, Program, ValueId};
use crate::syntax::iid_body;

/// Most members of a joint group whose matrix is factored; beyond, only variances are looked at.
const MAX_JOINT: usize = 48;
/// Most members of a family whose variances are looked at.
const MAX_MEMBERS: usize = 4096;
/// Most operations that evaluating the covariances of one program may take.
const MAX_WORK: usize = 2_000_000;

/// A member of a family: the value and its positions.
type Member = (ValueId, Vec<u32>);

impl Verifier<'_> {
    pub(super) fn covariances(&mut self, broken: &FxHashSet<ValueId>) {
        let mut evaluator = Evaluator { program: self.program, work: 0 };
        for group in groups(self.program) {
            if group.iter().any(|id| broken.contains(id)) {
                continue;
            }
            let before = self.problems.len();
            self.variances(&group, &mut evaluator);
            let members: usize = group.iter().map(|&id| family_size(self.program, id)).fold(0, usize::saturating_add);
            if before == self.problems.len() && 1 < members && members <= MAX_JOINT {
                self.joint(&group, &mut evaluator);
            }
        }
    }

    fn variances(&mut self, group: &[ValueId], evaluator: &mut Evaluator<'_>) {
        for &id in group {
            let Some(law) = law_of(self.program, id) else { continue };
            let count = family_size(self.program, id).min(MAX_MEMBERS);
            for member in members(self.program, id).take(count) {
                let twice: Vec<u32> = member.iter().chain(&member).copied().collect();
                let Some(variance) = evaluator.value(law.covariance, &twice) else { break };
                if variance.is_negative() {
                    let problem = Problem::new(
                        "negative-variance",
                        format!("the variance of `{}` is negative", member_name(self.program, id, &member)),
                        Place::Value(id),
                    )
                    .label(format!("it is {}", print_number(&variance)));
                    self.report(problem);
                    break;
                }
            }
        }
    }

    fn joint(&mut self, group: &[ValueId], evaluator: &mut Evaluator<'_>) {
        let all: Vec<Member> =
            group.iter().flat_map(|&id| members(self.program, id).map(move |member| (id, member))).collect();
        let mut matrix: Vec<Vec<Number>> = Vec::new();
        for (i, row) in all.iter().enumerate() {
            let mut entries = Vec::new();
            for column in &all[..=i] {
                let Some(entry) = evaluator.covariance(row, column) else { return };
                if row.0 == column.0 {
                    let Some(mirrored) = evaluator.covariance(column, row) else { return };
                    if mirrored != entry {
                        self.asymmetric(row, column, &entry, &mirrored);
                        return;
                    }
                }
                entries.push(entry);
            }
            matrix.push(entries);
        }
        if let Some(indefinite) = factor(matrix) {
            self.indefinite(&all, &indefinite);
        }
    }

    fn asymmetric(&mut self, row: &Member, column: &Member, entry: &Number, mirrored: &Number) {
        let (a, b) = (member_name(self.program, row.0, &row.1), member_name(self.program, column.0, &column.1));
        let message = format!("the covariance of `{}` is not symmetric", self.program.value(row.0).name);
        self.report(Problem::new("covariance-not-symmetric", message, Place::Value(row.0)).label(format!(
            "cov({a}, {b}) is {}, but cov({b}, {a}) is {}",
            print_number(entry),
            print_number(mirrored)
        )));
    }

    fn indefinite(&mut self, all: &[Member], found: &Indefinite) {
        let (id, member) = &all[found.row];
        let name = member_name(self.program, *id, member);
        let mut problem = Problem::new(
            "covariance-not-psd",
            "the covariance of the initial vectors is not positive semi-definite",
            Place::Value(*id),
        );
        problem = match &found.reason {
            Reason::Pivot(rest) => problem
                .label(format!("given the vectors before it, `{name}` would have variance {}", print_number(rest))),
            Reason::Degenerate(other) => {
                let (other_id, other_member) = &all[*other];
                let other_name = member_name(self.program, *other_id, other_member);
                problem.label(format!(
                    "`{name}` is determined by the vectors before it, but `{other_name}` is correlated with what would be left"
                ))
            }
        };
        self.report(problem.note("covariances are bounded by cov(a, b)^2 <= var(a) var(b)"));
    }
}

fn law_of(program: &Program, id: ValueId) -> Option<&Law> {
    match &program.value(id).instr {
        Instr::Gaussian(law) => Some(law),
        _ => None,
    }
}

/// Initial vectors in groups that are independent of each other, in order of definition.
fn groups(program: &Program) -> Vec<Vec<ValueId>> {
    let mut leader: FxHashMap<ValueId, ValueId> = FxHashMap::default();
    fn find(leader: &FxHashMap<ValueId, ValueId>, mut id: ValueId) -> ValueId {
        while let Some(&next) = leader.get(&id)
            && next != id
        {
            id = next;
        }
        id
    }
    let mut initial = Vec::new();
    for id in program.value_ids() {
        let Some(law) = law_of(program, id) else { continue };
        initial.push(id);
        leader.insert(id, id);
        for &(with, _) in &law.cross {
            let (a, b) = (find(&leader, id), find(&leader, with));
            leader.insert(a.max(b), a.min(b));
        }
    }
    let mut found: FxHashMap<ValueId, Vec<ValueId>> = FxHashMap::default();
    let mut order = Vec::new();
    for id in initial {
        let first = find(&leader, id);
        let group = found.entry(first).or_default();
        if group.is_empty() {
            order.push(first);
        }
        group.push(id);
    }
    order.into_iter().filter_map(|first| found.remove(&first)).collect()
}

fn family_size(program: &Program, id: ValueId) -> usize {
    program.family_sizes(id).into_iter().fold(1, usize::saturating_mul)
}

/// All members of a family, the last axis fastest.
fn members(program: &Program, id: ValueId) -> impl Iterator<Item = Vec<u32>> + use<> {
    let sizes = program.family_sizes(id);
    let count = sizes.iter().fold(1usize, |p, &s| p.saturating_mul(s));
    (0..count).map(move |mut flat| {
        let mut member = vec![0; sizes.len()];
        for (slot, &size) in member.iter_mut().zip(&sizes).rev() {
            *slot = (flat % size) as u32;
            flat /= size;
        }
        member
    })
}

fn member_name(program: &Program, id: ValueId, member: &[u32]) -> String {
    let name = &program.value(id).name;
    if member.is_empty() {
        return name.clone();
    }
    let indices: Vec<String> = member.iter().map(u32::to_string).collect();
    format!("{name}[{}]", indices.join(", "))
}

/// Where a symmetric matrix fails to be positive semi-definite.
struct Indefinite {
    row: usize,
    reason: Reason,
}

enum Reason {
    /// A negative pivot.
    Pivot(Number),
    /// A zero pivot with a non-zero entry below it, in that row.
    Degenerate(usize),
}

/// LDLᵀ over the rationals of the lower triangle of a symmetric matrix; `None` if it is positive semi-definite.
fn factor(mut a: Vec<Vec<Number>>) -> Option<Indefinite> {
    let n = a.len();
    for k in 0..n {
        let pivot = a[k][k].clone();
        if pivot.is_negative() {
            return Some(Indefinite { row: k, reason: Reason::Pivot(pivot) });
        }
        if pivot.is_zero() {
            match (k + 1..n).find(|&i| !a[i][k].is_zero()) {
                Some(i) => return Some(Indefinite { row: k, reason: Reason::Degenerate(i) }),
                None => continue,
            }
        }
        let column: Vec<Number> = (k + 1..n).map(|i| a[i][k].clone()).collect();
        for i in k + 1..n {
            if column[i - k - 1].is_zero() {
                continue;
            }
            let factor = &column[i - k - 1] / &pivot;
            for j in k + 1..=i {
                let change = &factor * &column[j - k - 1];
                a[i][j] -= change;
            }
        }
    }
    None
}

/// Exact values of terms without symbols.
struct Evaluator<'a> {
    program: &'a Program,
    work: usize,
}

impl Evaluator<'_> {
    /// The covariance of two members of one group, the second not later than the first.
    fn covariance(&mut self, a: &Member, b: &Member) -> Option<Number> {
        let law = law_of(self.program, a.0)?;
        if a.0 == b.0 {
            // Families of independent members are common and can be large.
            if a.1 != b.1 && iid_body(self.program, law.covariance, a.1.len()).is_some() {
                return Some(Number::zero());
            }
            let both: Vec<u32> = a.1.iter().chain(&b.1).copied().collect();
            return self.value(law.covariance, &both);
        }
        let both: Vec<u32> = a.1.iter().chain(&b.1).copied().collect();
        match law.cross.iter().find(|(with, _)| *with == b.0) {
            Some(&(_, covariance)) => self.value(covariance, &both),
            None => Some(Number::zero()),
        }
    }

    fn value(&mut self, e: ExprId, free: &[u32]) -> Option<Number> {
        self.at(e, free, &mut Vec::new())
    }

    /// The value, unless it would take too much work or too many digits.
    fn at(&mut self, e: ExprId, free: &[u32], bound: &mut Vec<(u32, u32)>) -> Option<Number> {
        self.node(e, free, bound).filter(|v| v.numer().bits().max(v.denom().bits()) <= MAX_BITS)
    }

    fn node(&mut self, e: ExprId, free: &[u32], bound: &mut Vec<(u32, u32)>) -> Option<Number> {
        self.work += 1;
        if MAX_WORK < self.work {
            return None;
        }
        let exprs: &Exprs = &self.program.exprs;
        let place = |index: Index, bound: &[(u32, u32)]| match index {
            Index::Var(v) => free.get(v as usize).copied(),
            Index::Bound(b) => bound.iter().rev().find(|(k, _)| *k == b).map(|&(_, p)| p),
            Index::At(p) => Some(p),
        };
        match exprs.node(e) {
            Node::Const(value) => Some(value.clone()),
            Node::Table(table, indices) => {
                let table = &self.program.tables[table.index()];
                let mut flat = 0usize;
                for (&index, &axis) in indices.iter().zip(&table.axes) {
                    flat = flat * self.program.axis_size(axis) as usize + place(index, bound)? as usize;
                }
                table.entries.get(flat).cloned()
            }
            Node::Neg(a) => Some(-self.at(*a, free, bound)?),
            Node::Add(a, b) => Some(self.at(*a, free, bound)? + self.at(*b, free, bound)?),
            Node::Sub(a, b) => Some(self.at(*a, free, bound)? - self.at(*b, free, bound)?),
            Node::Mul(a, b) => Some(self.at(*a, free, bound)? * self.at(*b, free, bound)?),
            Node::Div(a, b) => {
                let below = self.at(*b, free, bound)?;
                if below.is_zero() { None } else { Some(self.at(*a, free, bound)? / below) }
            }
            Node::Pow(a, p) if p.is_integer() && p.numer().unsigned_abs() <= 16 => {
                let base = self.at(*a, free, bound)?;
                let raised = num_traits::pow(base, p.numer().unsigned_abs() as usize);
                match (p.is_negative(), raised.is_zero()) {
                    (true, true) => None,
                    (true, false) => Some(raised.recip()),
                    (false, _) => Some(raised),
                }
            }
            Node::Apply(Func::Abs, args) => Some(self.at(*args.first()?, free, bound)?.abs()),
            Node::Sum(sum) => {
                let base = exprs.height(sum.body);
                let sizes: Vec<u32> = sum.axes.iter().map(|&axis| self.program.axis_size(axis)).collect();
                let count = sizes.iter().try_fold(1usize, |p, &s| p.checked_mul(s as usize))?;
                let mut total = Number::zero();
                let outer = bound.len();
                for flat in 0..count {
                    self.work += 1;
                    if MAX_WORK < self.work {
                        return None;
                    }
                    let mut rest = flat;
                    for (k, &size) in sizes.iter().enumerate().rev() {
                        bound.push((base + k as u32, (rest % size as usize) as u32));
                        rest /= size as usize;
                    }
                    let holds = sum.guards.iter().try_fold(true, |so_far, guard| {
                        let mut left = guard.constant();
                        for &(c, index) in guard.terms() {
                            left = left.checked_add(c.checked_mul(i64::from(place(index, bound)?))?)?;
                        }
                        Some(
                            so_far
                                && match guard.relation() {
                                    Relation::Eq => left == 0,
                                    Relation::Le => left <= 0,
                                    Relation::EqMod(m) => m != 0 && left.rem_euclid(i64::from(m)) == 0,
                                },
                        )
                    })?;
                    if holds {
                        total += self.at(sum.body, free, bound)?;
                    }
                    bound.truncate(outer);
                }
                Some(total)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::integer;

    #[test]
    fn semi_definite_is_told_from_indefinite() {
        let lower = |rows: &[&[i64]]| rows.iter().map(|r| r.iter().map(|&x| integer(x)).collect()).collect();
        // Rank one; indefinite by its determinant; zero variance with a covariance.
        assert!(factor(lower(&[&[4], &[2, 1], &[-2, -1, 1]])).is_none());
        assert!(matches!(factor(lower(&[&[1], &[2, 1]])), Some(Indefinite { row: 1, reason: Reason::Pivot(_) })));
        assert!(matches!(factor(lower(&[&[0], &[1, 1]])), Some(Indefinite { row: 0, reason: Reason::Degenerate(1) })));
        // [[2, 1, 1], [1, 2, 1], [1, 1, 0]] has determinant -2.
        assert!(factor(lower(&[&[2], &[1, 2], &[1, 1, 0]])).is_some());
    }
}
