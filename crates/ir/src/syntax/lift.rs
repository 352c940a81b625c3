//! Program to syntax tree: the core text of a program, with parentheses where the grammar needs them.
//!
//! Total: an ill-formed program becomes a tree whose text shows the fault (`?7` for an id that is out of range), so
//! that the verifier's diagnostics have something to point into.

mod pieces;

use num_traits::{One, Zero};

use crate::expr::{Expr as Node, ExprId};
use crate::id::Id;
use crate::index::{Guard, Index, Indices};
use crate::network::{Network, Parameter};
use crate::number::{Number, Power};
use crate::program::{
    Axis, Dim, Instr, Kind, Law as CoreLaw, Operand, Program, Scale, Table, Value, ValueId, value_of,
};
use crate::syntax::ast::{
    Binder, Block, Body, Cross, Definition, Dimension, Entries, Expr, ExprKind, File, Item, Law, Operator, Reference,
    Setting, SettingKey, Span, Statement, StatementKind, Trivia,
};
use crate::syntax::names::stem;
use pieces::{
    constant, expr, guard_text, ident, int, is_literal, name, nested_entries, number, plain_reference, power_number,
    reference, scale_expr,
};

/// Most nodes that the text of one program may have; shared subterms are written out, so a small program can have a
/// huge text. Beyond it, terms are written `...`.
const MAX_NODES: usize = 20_000_000;

/// Deepest term that is written; see [`crate::syntax::parser::MAX_DEPTH`].
const MAX_DEPTH: usize = 400;

/// The tree of a program: axes, widths, tables, values, in order.
pub(crate) fn lift_program(program: &Program) -> File {
    lift(program, &[], &[], false)
}

/// The tree of a network.
pub(crate) fn lift_network(network: &Network) -> File {
    lift(&network.program, &network.parameters, &network.outputs, true)
}

/// The tree of an expression over free indices called `names`.
pub(crate) fn lift_expr(program: &Program, id: ExprId, names: &[&str]) -> Expr {
    let mut lifter = Lifter { program, nodes: 0 };
    let mut scope = Scope::new(names.iter().map(|&name| name.to_owned()).collect());
    lifter.expr(id, &mut scope)
}

/// The parameter that `param` without settings makes of a value: [`Parameter::ntk`] of its variance, or of variance 1
/// if that is not a constant.
pub(crate) fn default_parameter(program: &Program, value: ValueId) -> Parameter {
    let variance = match program.values.get(value.index()).map(|v| &v.instr) {
        Some(Instr::Matrix { variance }) => variance.clone(),
        Some(Instr::Gaussian(law)) => {
            let family = program.value(value).ty.family.len();
            let constant = match iid_body(program, law.covariance, family) {
                Some(body) => node(program, body),
                None => node(program, law.covariance),
            };
            match constant {
                Some(Node::Const(value)) => Scale::constant(value.clone()),
                _ => Scale::constant(Number::one()),
            }
        }
        _ => Scale::constant(Number::one()),
    };
    // Half of an exponent that the verifier refuses could overflow.
    let small = variance.power.numer().unsigned_abs() < 1 << 32 && variance.power.denom().unsigned_abs() < 1 << 32;
    let variance = if small { variance } else { Scale::constant(variance.coefficient) };
    Parameter::ntk(value, &variance)
}

/// The variance of a family of independent members: the body of `sum [i = i'] body` over all axes, if the covariance
/// has that form and the body is the same for both.
pub(crate) fn iid_body(program: &Program, covariance: ExprId, family: usize) -> Option<ExprId> {
    let Some(Node::Sum(sum)) = node(program, covariance) else { return None };
    let k = family as u32;
    let same = (0..k).map(|i| Guard::equal(Index::Var(i), Index::Var(k + i)));
    let matches = sum.axes.is_empty() && k != 0 && same.eq(sum.guards.iter().cloned());
    let zero = matches!(node(program, sum.body), Some(Node::Const(c)) if c.is_zero());
    (matches && !zero && !mentions_from(program, sum.body, k)).then_some(sum.body)
}

/// Whether a free variable `Var(v)` with `first <= v` occurs.
pub(crate) fn mentions_from(program: &Program, expr: ExprId, first: u32) -> bool {
    let mut found = false;
    if expr.index() < program.exprs.len() {
        let mut see = |index: &Index| found |= matches!(index, Index::Var(v) if first <= *v);
        program.exprs.visit(expr, &mut |node| match node {
            Node::Ref(_, indices) | Node::Table(_, indices) => indices.iter().for_each(&mut see),
            Node::Sum(sum) => sum.guards.iter().flat_map(|g| g.terms()).for_each(|(_, index)| see(index)),
            _ => {}
        });
    }
    found
}

/// The names of the second copies of a family's indices: as many more primes as keep them apart.
pub(crate) fn second_names(names: &[String]) -> Vec<String> {
    let primes = |name: &str| name.len() - stem(name).len();
    let most = |s: &str| names.iter().filter(|n| stem(n) == s).map(|n| primes(n)).max().unwrap_or(0);
    names.iter().map(|name| format!("{name}{}", "'".repeat(most(stem(name)) + 1))).collect()
}

fn node(program: &Program, id: ExprId) -> Option<&Node> {
    (id.index() < program.exprs.len()).then(|| program.exprs.node(id))
}

fn lift(program: &Program, parameters: &[Parameter], outputs: &[ValueId], network: bool) -> File {
    let mut lifter = Lifter { program, nodes: 0 };
    let mut statements = Vec::new();
    let mut push = |kind| {
        statements.push(Statement { before: Vec::new(), kind, span: Span::default(), after: None });
    };
    for axis in &program.axes {
        push(StatementKind::Axis { name: ident(&axis.name), size: int(axis.size) });
    }
    for class in program.classes.iter().skip(1) {
        let ratio = scale_expr(&Scale::new(class.ratio.clone(), Power::one()));
        push(StatementKind::Width { name: ident(&class.name), ratio });
    }
    for table in &program.tables {
        push(lifter.table(table));
    }
    for (k, value) in program.values.iter().enumerate() {
        let id = ValueId::new(k);
        let parameter = parameters.iter().find(|p| p.value == id);
        let definition = lifter.definition(id, value, parameter, outputs.contains(&id));
        push(StatementKind::Def(Box::new(definition)));
    }
    let body = Block { statements, rest: Vec::new() };
    let name = ident(&program.name);
    let item = Item { before: Vec::<Trivia>::new(), network, name, body, span: Span::default(), after: None };
    File { items: vec![item], rest: Vec::new() }
}

/// How tightly the context binds; an expression weaker than its context is parenthesised.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Strength {
    Additive,
    Multiplicative,
    Unary,
    Atom,
}

/// Names of the free and bound indices.
struct Scope {
    free: Vec<String>,
    bound: Vec<(u32, String)>,
}

impl Scope {
    fn new(free: Vec<String>) -> Self {
        Self { free, bound: Vec::new() }
    }

    fn taken(&self, name: &str) -> bool {
        self.free.iter().any(|n| n == name) || self.bound.iter().any(|(_, n)| n == name)
    }

    fn name(&self, index: Index) -> String {
        match index {
            Index::Var(v) => self.free.get(v as usize).cloned().unwrap_or_else(|| format!("?{v}")),
            Index::Bound(b) => {
                let found = self.bound.iter().rev().find(|(k, _)| *k == b);
                found.map_or_else(|| format!("?b{b}"), |(_, name)| name.clone())
            }
            Index::At(position) => position.to_string(),
        }
    }
}

struct Lifter<'a> {
    program: &'a Program,
    nodes: usize,
}

impl Lifter<'_> {
    fn table(&mut self, table: &Table) -> StatementKind {
        let mut names = Vec::new();
        for &axis in &table.axes {
            let name = self.fresh_name(axis, &|name| names.iter().any(|n| n == name));
            names.push(name);
        }
        let binders = names.iter().zip(&table.axes).map(|(name, &axis)| self.binder(name, axis)).collect();
        let sizes: Vec<usize> = table.axes.iter().map(|&axis| self.axis_size(axis)).collect();
        let product = sizes.iter().try_fold(1usize, |p, &s| p.checked_mul(s));
        let entries = if product == Some(table.entries.len()) {
            nested_entries(&table.entries, &sizes)
        } else {
            // Ill-formed: as a flat list, which does not have the shape of the axes either.
            let numbers = table.entries.iter().map(|e| Entries::Number(number(e))).collect();
            Entries::List(numbers, Span::default())
        };
        StatementKind::Table { name: ident(&table.name), binders, entries }
    }

    fn definition(&mut self, id: ValueId, value: &Value, parameter: Option<&Parameter>, output: bool) -> Definition {
        let family = &value.ty.family;
        let mut names = value.index_names.clone();
        names.resize(family.len().max(names.len()), "?".into());
        let binders = names
            .iter()
            .enumerate()
            .map(|(k, name)| match family.get(k) {
                Some(&axis) => self.binder(name, axis),
                None => Binder { name: ident(name), axis: None },
            })
            .collect();
        let vector_dim = match value.ty.kind {
            Kind::Vector(dim) => Some(dim),
            _ => None,
        };
        let mut scope = Scope::new(names.clone());
        let body = match &value.instr {
            Instr::Data => Body::Data { dim: vector_dim.map(|dim| self.dimension(dim)) },
            Instr::Constant(table, indices) => Body::Constant {
                dim: self.kind_dimension(value.ty.kind),
                table: self.table_reference(*table, indices, &scope),
            },
            Instr::Matrix { variance } => {
                let law = Law {
                    mean: number(&Number::zero()),
                    covariance: scale_expr(variance),
                    joint: false,
                    cross: Vec::new(),
                };
                self.initial(id, value, law, parameter)
            }
            Instr::Gaussian(law) => {
                let law = self.law(law, &names);
                self.initial(id, value, law, parameter)
            }
            Instr::MatMul { matrix, transposed, vector } => {
                let natural = self.product_dim(matrix, *transposed);
                let dim = vector_dim.filter(|dim| Some(*dim) != natural).map(|dim| self.dimension(dim));
                let left = self.operand(matrix, &scope);
                let right = self.operand(vector, &scope);
                let first = if *transposed { ExprKind::Transposed(left) } else { ExprKind::Reference(left) };
                let rest = vec![(Operator::Mul, expr(ExprKind::Reference(right)))];
                Body::Plain { dim, value: expr(ExprKind::Chain { first: Box::new(expr(first)), rest }) }
            }
            Instr::Map(e) => {
                let natural = self.expr_dim(*e);
                let dim = vector_dim.filter(|dim| Some(*dim) != natural).map(|dim| self.dimension(dim));
                Body::Plain { dim, value: self.expr(*e, &mut scope) }
            }
            Instr::Moment(e) => Body::Moment { value: self.expr(*e, &mut scope) },
            Instr::Scalar(e) => Body::Scalar { value: self.expr(*e, &mut scope) },
        };
        Definition { output, name: name(&value.name), binders, body }
    }

    /// An initial matrix or vector, as a parameter if it is one.
    fn initial(&self, id: ValueId, value: &Value, law: Law, parameter: Option<&Parameter>) -> Body {
        let Some(parameter) = parameter else {
            return match value.ty.kind {
                Kind::Matrix { rows, cols } => {
                    let n = Dim::Width(Id::new(0));
                    let plain = rows == n && cols == n;
                    let dims = (!plain).then(|| (self.dimension(rows), self.dimension(cols)));
                    Body::Matrix { dims, law }
                }
                Kind::Vector(Dim::Width(class)) if class.index() == 0 => Body::Vector { dim: None, law },
                Kind::Vector(dim) => Body::Vector { dim: Some(self.dimension(dim)), law },
                Kind::Scalar => Body::Vector { dim: Some(Dimension::Scalar(Span::default())), law },
            };
        };
        let dims = match value.ty.kind {
            Kind::Matrix { rows, cols } => (self.dimension(rows), Some(self.dimension(cols))),
            kind => (self.kind_dimension(kind), None),
        };
        let usual = default_parameter(self.program, id);
        let mut settings = Vec::new();
        let mut set = |key, value: Expr| settings.push(Setting { key, value, span: Span::default() });
        let powers = [
            (SettingKey::A, parameter.a, usual.a),
            (SettingKey::B, parameter.b, usual.b),
            (SettingKey::C, parameter.c, usual.c),
        ];
        for (key, given, default) in powers {
            if given != default {
                set(key, number(&power_number(given)));
            }
        }
        if parameter.multiplier_squared != usual.multiplier_squared {
            set(SettingKey::MultiplierSquared, number(&parameter.multiplier_squared));
        }
        Body::Param { dims, law, frozen: !parameter.trained, settings }
    }

    fn law(&mut self, law: &CoreLaw, names: &[String]) -> Law {
        let k = names.len() as u32;
        let mut own = Scope::new(names.to_vec());
        let mean = self.expr(law.mean, &mut own);
        let mut both = Scope::new(names.iter().cloned().chain(second_names(names)).collect());
        let (covariance, joint) = match iid_body(self.program, law.covariance, names.len()) {
            Some(body) => (self.expr(body, &mut own), false),
            None => {
                let zero = matches!(node(self.program, law.covariance), Some(Node::Const(c)) if c.is_zero());
                let joint = 0 < k && !zero && !mentions_from(self.program, law.covariance, k);
                (self.expr(law.covariance, &mut both), joint)
            }
        };
        let mut cross = Vec::new();
        for &(with, value) in &law.cross {
            let other = self.program.values.get(with.index());
            let mut all = Scope::new(names.to_vec());
            let mut binders = Vec::new();
            for theirs in other.map_or(&[][..], |v| &v.index_names) {
                let mut fresh = theirs.clone();
                while all.taken(&fresh) {
                    fresh.push('\'');
                }
                all.free.push(fresh.clone());
                binders.push(ident(&fresh));
            }
            let with = other.map_or_else(|| name(&format!("?{}", with.index())), |v| name(&v.name));
            let value = self.expr(value, &mut all);
            cross.push(Cross { with, binders, value, span: Span::default() });
        }
        Law { mean, covariance, joint, cross }
    }

    fn product_dim(&self, matrix: &Operand, transposed: bool) -> Option<Dim> {
        match self.program.values.get(matrix.value.index())?.ty.kind {
            Kind::Matrix { rows, cols } => Some(if transposed { cols } else { rows }),
            _ => None,
        }
    }

    /// [`Program::expr_dim`] that does not mind ids out of range.
    fn expr_dim(&self, expr: ExprId) -> Option<Dim> {
        node(self.program, expr)?;
        self.program.exprs.refs(expr).iter().find_map(|(symbol, _)| {
            match self.program.values.get(value_of(*symbol).index())?.ty.kind {
                Kind::Vector(dim) => Some(dim),
                _ => None,
            }
        })
    }

    fn operand(&self, operand: &Operand, scope: &Scope) -> Reference {
        let text = self.value_name(operand.value);
        reference(&text, &operand.indices, scope)
    }

    fn value_name(&self, id: ValueId) -> String {
        self.program.values.get(id.index()).map_or_else(|| format!("?{}", id.index()), |v| v.name.clone())
    }

    fn table_reference(&self, table: Id<Table>, indices: &Indices, scope: &Scope) -> Reference {
        let found = self.program.tables.get(table.index());
        let text = found.map_or_else(|| format!("?{}", table.index()), |t| t.name.clone());
        reference(&text, indices, scope)
    }

    fn dimension(&self, dim: Dim) -> Dimension {
        match dim {
            Dim::Finite(size) => Dimension::Finite(int(size)),
            Dim::Width(class) => {
                let found = self.program.classes.get(class.index());
                Dimension::Width(ident(found.map_or(&format!("?{}", class.index()), |c| &c.name)))
            }
        }
    }

    fn kind_dimension(&self, kind: Kind) -> Dimension {
        match kind {
            Kind::Vector(dim) => self.dimension(dim),
            Kind::Matrix { rows, .. } => self.dimension(rows),
            Kind::Scalar => Dimension::Scalar(Span::default()),
        }
    }

    fn axis_name(&self, axis: Id<Axis>) -> String {
        self.program.axes.get(axis.index()).map_or_else(|| format!("?{}", axis.index()), |a| a.name.clone())
    }

    fn axis_size(&self, axis: Id<Axis>) -> usize {
        self.program.axes.get(axis.index()).map_or(0, |a| a.size as usize)
    }

    /// The axis's name with as many primes as make it new.
    fn fresh_name(&self, axis: Id<Axis>, taken: &dyn Fn(&str) -> bool) -> String {
        let mut fresh = self.axis_name(axis);
        while taken(&fresh) {
            fresh.push('\'');
        }
        fresh
    }

    fn binder(&self, name: &str, axis: Id<Axis>) -> Binder {
        let axis = self.axis_name(axis);
        let explicit = stem(name) != axis;
        Binder { name: ident(name), axis: explicit.then(|| ident(&axis)) }
    }

    fn expr(&mut self, id: ExprId, scope: &mut Scope) -> Expr {
        self.at(id, Strength::Additive, true, 0, scope)
    }

    /// The term in a context of some strength. A sum extends as far right as possible, so it goes without parentheses
    /// only at the `tail` of its context.
    fn at(&mut self, id: ExprId, context: Strength, tail: bool, depth: usize, scope: &mut Scope) -> Expr {
        self.nodes += 1;
        let Some(found) = node(self.program, id) else {
            return expr(ExprKind::Reference(reference(&format!("?e{}", id.index()), &Indices::new(), scope)));
        };
        if MAX_NODES < self.nodes || MAX_DEPTH < depth {
            return expr(ExprKind::Reference(reference("...", &Indices::new(), scope)));
        }
        let depth = depth + 1;
        let (strength, kind) = match found {
            Node::Const(value) => constant(value),
            Node::Pi => (Strength::Atom, plain_reference("pi")),
            Node::Width(p) => {
                let base = expr(plain_reference(&self.class_name()));
                if p.is_one() {
                    (Strength::Atom, base.kind)
                } else {
                    (Strength::Unary, ExprKind::Pow { base: Box::new(base), exponent: (*p.numer(), *p.denom()) })
                }
            }
            Node::Ref(symbol, indices) => {
                let text = self.value_name(value_of(*symbol));
                (Strength::Atom, ExprKind::Reference(reference(&text, indices, scope)))
            }
            Node::Table(table, indices) => {
                (Strength::Atom, ExprKind::Reference(self.table_reference(*table, indices, scope)))
            }
            Node::Neg(a) => {
                // A literal after the sign would be read as a negative number.
                let literal = matches!(node(self.program, *a), Some(Node::Const(_)));
                let inner = if literal {
                    let inner = self.at(*a, Strength::Additive, true, depth, scope);
                    expr(ExprKind::Paren(Box::new(inner)))
                } else {
                    self.at(*a, Strength::Unary, tail, depth, scope)
                };
                (Strength::Unary, ExprKind::Neg(Box::new(inner)))
            }
            Node::Add(..) | Node::Sub(..) => (Strength::Additive, self.chain(id, true, context, tail, depth, scope)),
            Node::Mul(..) | Node::Div(..) => {
                (Strength::Multiplicative, self.chain(id, false, context, tail, depth, scope))
            }
            Node::Pow(a, p) => {
                let mut base = self.at(*a, Strength::Atom, false, depth, scope);
                // `n^2` is a power of the width.
                if matches!(node(self.program, *a), Some(Node::Width(_))) && !matches!(base.kind, ExprKind::Paren(_)) {
                    base = expr(ExprKind::Paren(Box::new(base)));
                }
                (Strength::Unary, ExprKind::Pow { base: Box::new(base), exponent: (*p.numer(), *p.denom()) })
            }
            Node::Apply(func, args) => {
                let arguments = args.iter().map(|&a| self.at(a, Strength::Additive, true, depth, scope)).collect();
                (Strength::Atom, ExprKind::Call { function: ident(func.name()), arguments })
            }
            Node::Sum(sum) if sum.axes.is_empty() && sum.guards.is_empty() => {
                return self.at(sum.body, context, tail, depth, scope);
            }
            Node::Sum(sum) => {
                let base = self.program.exprs.height(sum.body);
                let outer = scope.bound.len();
                let mut binders = Vec::new();
                for (k, &axis) in sum.axes.iter().enumerate() {
                    let fresh = self.fresh_name(axis, &|name| scope.taken(name));
                    binders.push(self.binder(&fresh, axis));
                    scope.bound.push((base + k as u32, fresh));
                }
                let guards = sum.guards.iter().map(|guard| guard_text(guard, scope)).collect();
                let body = self.at(sum.body, Strength::Additive, true, depth, scope);
                scope.bound.truncate(outer);
                let kind = ExprKind::Sum { binders, guards, body: Box::new(body) };
                (if tail { Strength::Unary } else { Strength::Additive }, kind)
            }
        };
        // A sum that is not at the tail is weaker than any context but the whole.
        let open_sum = matches!(kind, ExprKind::Sum { .. }) && !tail;
        if strength < context || open_sum {
            return expr(ExprKind::Paren(Box::new(expr(kind))));
        }
        expr(kind)
    }

    /// A chain of operators of one precedence, flattened along its left spine.
    fn chain(
        &mut self,
        id: ExprId,
        additive: bool,
        context: Strength,
        tail: bool,
        depth: usize,
        scope: &mut Scope,
    ) -> ExprKind {
        let own = if additive { Strength::Additive } else { Strength::Multiplicative };
        // Inside parentheses the right end is a tail again.
        let tail = tail || own < context;
        let mut operands = Vec::new();
        let mut at = id;
        loop {
            let (operator, left, right) = match node(self.program, at) {
                Some(&Node::Add(a, b)) if additive => (Operator::Add, a, b),
                Some(&Node::Sub(a, b)) if additive => (Operator::Sub, a, b),
                Some(&Node::Mul(a, b)) if !additive => (Operator::Mul, a, b),
                Some(&Node::Div(a, b)) if !additive => (Operator::Div, a, b),
                _ => break,
            };
            operands.push((operator, right));
            at = left;
        }
        operands.reverse();
        let next = if additive { Strength::Multiplicative } else { Strength::Unary };
        // The first operand of a product may be a fraction: `1/3 * x` reads back as it is.
        let leading_fraction = !additive && matches!(node(self.program, at), Some(Node::Const(_)));
        let first = self.at(at, if leading_fraction { own } else { next }, false, depth, scope);
        let count = operands.len();
        let mut rest: Vec<(Operator, Expr)> = Vec::with_capacity(count);
        for (k, (operator, right)) in operands.into_iter().enumerate() {
            let operand = self.at(right, next, tail && k + 1 == count, depth, scope);
            rest.push((operator, operand));
        }
        // A literal divided by a literal would be read as one number.
        if let Some((Operator::Div, second)) = rest.first_mut()
            && is_literal(&first)
            && matches!(&second.kind, ExprKind::Number { value, .. } if !value.is_zero())
        {
            *second = expr(ExprKind::Paren(Box::new(second.clone())));
        }
        // Splice a leading fraction, so that the text is one flat chain as the parser makes it.
        match first.kind {
            ExprKind::Chain { first: head, rest: fraction } if leading_fraction => {
                ExprKind::Chain { first: head, rest: fraction.into_iter().chain(rest).collect() }
            }
            kind => ExprKind::Chain { first: Box::new(expr(kind)), rest },
        }
    }

    fn class_name(&self) -> String {
        self.program.classes.first().map_or_else(|| "?n".into(), |c| c.name.clone())
    }
}
