//! Delta reduction: single steps that make a program smaller, taken while the two answers differ.

use netsor_gauss::Tolerance;
use netsor_ir::expr::{Expr, ExprId, for_each_child};
use netsor_ir::number::integer;
use netsor_ir::program::Law;
use netsor_ir::program::{symbol_of, value_of};
use netsor_ir::verify::verify_program;
use netsor_ir::{Dim, Instr, Kind, Program, Scale, ValueId};
use num_traits::One;

use super::{Subject, answers};

/// The most candidates that are tried; what is left then is small, and perhaps not minimal.
const TRIALS: usize = 20_000;

/// The most earlier values that are tried in the place of one.
const OTHERS: usize = 32;

/// Applies steps until none is left that keeps the difference.
pub(super) fn reduce(subject: Subject, tolerance: Tolerance) -> Subject {
    // Answers differ by far more than this or are not worth showing.
    let coarse = Tolerance {
        absolute: tolerance.absolute.max(1e-6),
        relative: tolerance.relative.max(1e-6),
        max_points: tolerance.max_points.min(1 << 14),
        ..tolerance
    };
    let mut search = Search { current: subject, tolerance: coarse, trials: 0 };
    search.chunks();
    while search.single_steps() && search.trials < TRIALS {}
    search.behind_names();
    search.current
}

struct Search {
    current: Subject,
    tolerance: Tolerance,
    trials: usize,
}

impl Search {
    /// Replaces whole stretches of definitions by initial ones, long stretches first.
    fn chunks(&mut self) {
        let mut length = self.current.program.values.len();
        while 1 < length {
            length = length.div_ceil(2);
            let mut start = 0;
            while start < self.current.program.values.len() {
                let mut program = self.current.program.clone();
                let end = (start + length).min(program.values.len());
                let mut changed = false;
                for id in (start..end).map(ValueId::new).filter(|&id| id != self.current.target) {
                    if let Some(instr) = initial(&mut program, id) {
                        program.values[id.index()].instr = instr;
                        changed = true;
                    }
                }
                if !changed || !self.accept(program) {
                    start += length;
                }
            }
        }
    }

    /// Tries every single step once, later definitions first; whether one was taken.
    fn single_steps(&mut self) -> bool {
        let mut taken = false;
        let mut at = self.current.program.values.len();
        while 0 < at && self.trials < TRIALS {
            at = at.min(self.current.program.values.len());
            if at == 0 {
                break;
            }
            let id = ValueId::new(at - 1);
            let candidates = candidates(&self.current.program, id, self.current.target);
            match candidates.into_iter().any(|program| self.accept(program)) {
                // The definition may have more to give, if it is still there.
                true => taken = true,
                false => at -= 1,
            }
        }
        taken
    }

    /// A target that is only another name for a scalar is that scalar.
    fn behind_names(&mut self) {
        loop {
            let Subject { program, target, .. } = &self.current;
            let Instr::Scalar(expr) = program.value(*target).instr else { return };
            let Expr::Ref(symbol, _) = program.exprs.node(expr) else { return };
            let mut next = self.current.clone();
            next.target = value_of(*symbol);
            match next.without_dead_code() {
                Ok(next) if next.program.value(next.target).ty.kind == Kind::Scalar => self.current = next,
                _ => return,
            }
        }
    }

    /// Makes the candidate the current program if it is smaller, valid, and the answers still differ.
    fn accept(&mut self, program: Program) -> bool {
        let candidate = Subject { program, target: self.current.target, data: self.current.data.clone() };
        let Ok(candidate) = candidate.without_dead_code() else { return false };
        if size(&self.current.program) <= size(&candidate.program) {
            return false;
        }
        self.trials += 1;
        let differs = answers(&candidate, self.tolerance).is_ok_and(|answers| answers.differ());
        let keeps = differs && verify_program(candidate.program.clone()).is_ok();
        if keeps {
            self.current = candidate;
        }
        keeps
    }
}

/// The size that every step must make smaller: definitions first, then terms.
fn size(program: &Program) -> usize {
    let terms = |expr: ExprId| program.exprs.reachable(expr).len();
    let definition = |id: ValueId| match &program.value(id).instr {
        Instr::Data | Instr::Constant(..) => 20,
        Instr::Matrix { variance } => 30 + usize::from(!variance.coefficient.is_one()),
        Instr::Gaussian(law) => {
            let plain = is(program, law.mean, 0) && is(program, law.covariance, 1) && law.cross.is_empty();
            30 + usize::from(!plain)
        }
        Instr::MatMul { .. } => 60,
        Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr) => 40 + terms(*expr),
    };
    program.value_ids().map(definition).sum()
}

fn is(program: &Program, expr: ExprId, number: i64) -> bool {
    program.exprs.as_const(expr).is_some_and(|c| *c == integer(number))
}

/// A definition that depends on nothing, for a vector of width `n` or a scalar: `N(0, 1)` and 1.
fn initial(program: &mut Program, id: ValueId) -> Option<Instr> {
    let instr = match program.value(id).ty.kind {
        Kind::Vector(Dim::Width(_)) => Instr::Gaussian(Law::iid(&mut program.exprs, integer(0), integer(1))),
        Kind::Scalar => Instr::Scalar(program.exprs.integer(1)),
        _ => return None,
    };
    (program.value(id).instr != instr).then_some(instr)
}

/// The programs that one step at one definition leads to, the largest steps first.
fn candidates(program: &Program, id: ValueId, target: ValueId) -> Vec<Program> {
    let mut found = Vec::new();
    let mut with = |instr: Instr| {
        let mut new = program.clone();
        new.values[id.index()].instr = instr;
        found.push(new);
    };
    let value = program.value(id);
    let mut scratch = program.clone();
    if id != target
        && let Some(instr) = initial(&mut scratch, id)
    {
        let mut new = scratch.clone();
        new.values[id.index()].instr = instr;
        found.push(new);
        // An earlier vector or scalar in its place: what it is made of, or any other.
        let arguments = program.arguments(id);
        let earlier = (0..id.index()).map(ValueId::new).filter(|v| !arguments.contains(v)).take(OTHERS);
        for other in arguments.iter().copied().chain(earlier) {
            if program.value(other).ty == value.ty && !matches!(value.ty.kind, Kind::Matrix { .. }) {
                found.push(replaced(program, id, other));
            }
        }
        return found.into_iter().chain(terms(program, id)).collect();
    }
    match &value.instr {
        Instr::Matrix { variance } if !variance.coefficient.is_one() => {
            with(Instr::Matrix { variance: Scale::new(One::one(), variance.power) });
        }
        _ => {}
    }
    found.into_iter().chain(terms(program, id)).collect()
}

/// The programs in which one term of a definition is replaced by one of its children or by 1.
fn terms(program: &Program, id: ValueId) -> Vec<Program> {
    let (Instr::Map(root) | Instr::Moment(root) | Instr::Scalar(root)) = program.value(id).instr else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for at in program.exprs.reachable(root).into_iter().rev() {
        let mut children = Vec::new();
        for_each_child(program.exprs.node(at), |child| children.push(child));
        if matches!(program.exprs.node(at), Expr::Sum(_)) {
            continue;
        }
        for child in children {
            let mut new = program.clone();
            let expr = substituted(&mut new, root, at, child);
            let kind = program.value(id).ty.kind;
            let scalar = new.expr_dim(expr).is_none();
            // A vector stays a function of vectors, and a mean one of coordinates.
            if scalar != (kind == Kind::Scalar && matches!(program.value(id).instr, Instr::Scalar(_))) {
                continue;
            }
            let instr = match program.value(id).instr {
                Instr::Map(_) => Instr::Map(expr),
                Instr::Moment(_) => Instr::Moment(expr),
                _ => Instr::Scalar(expr),
            };
            new.values[id.index()].instr = instr;
            found.push(new);
        }
    }
    found
}

/// The term with one subterm replaced by another.
fn substituted(program: &mut Program, root: ExprId, old: ExprId, new: ExprId) -> ExprId {
    let mut order = program.exprs.reachable(root);
    order.retain(|&id| old <= id);
    let mut done = std::collections::BTreeMap::from([(old, new)]);
    for id in order {
        if id == old {
            continue;
        }
        let node = program.exprs.node(id).clone();
        let mut touched = false;
        for_each_child(&node, |child| touched |= done.contains_key(&child));
        if touched {
            let copy = with_children(program, node, |child| done.get(&child).copied().unwrap_or(child));
            done.insert(id, copy);
        }
    }
    done.get(&root).copied().unwrap_or(root)
}

/// The node with other children, simplified; sums are left alone, for their variables are bound.
fn with_children(program: &mut Program, node: Expr, of: impl Fn(ExprId) -> ExprId) -> ExprId {
    let exprs = &mut program.exprs;
    match node {
        Expr::Neg(a) => exprs.neg(of(a)),
        Expr::Add(a, b) => exprs.add(of(a), of(b)),
        Expr::Sub(a, b) => exprs.sub(of(a), of(b)),
        Expr::Mul(a, b) => exprs.mul(of(a), of(b)),
        Expr::Div(a, b) => exprs.div(of(a), of(b)),
        Expr::Pow(a, p) => exprs.pow(of(a), p),
        Expr::Apply(func, args) => exprs.intern(Expr::Apply(func, args.into_iter().map(of).collect())),
        other => exprs.intern(other),
    }
}

/// The program in which `by` stands wherever `old` stood.
fn replaced(program: &Program, old: ValueId, by: ValueId) -> Program {
    let mut new = program.clone();
    let mut fresh = 1_000;
    for id in program.value_ids().filter(|&id| old < id) {
        let mut rewrite = |expr: ExprId| {
            new.exprs.replace_refs(expr, &mut fresh, &mut |exprs, symbol, indices, _| {
                (value_of(symbol) == old).then(|| exprs.reference(symbol_of(by), indices.iter().copied()))
            })
        };
        let instr = match program.value(id).instr.clone() {
            Instr::Map(e) => Instr::Map(rewrite(e)),
            Instr::Moment(e) => Instr::Moment(rewrite(e)),
            Instr::Scalar(e) => Instr::Scalar(rewrite(e)),
            Instr::MatMul { matrix, transposed, mut vector } => {
                if vector.value == old {
                    vector.value = by;
                }
                Instr::MatMul { matrix, transposed, vector }
            }
            other => other,
        };
        new.values[id.index()].instr = instr;
    }
    new
}
