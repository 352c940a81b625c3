//! Expressions, indices, guards, and the constant expressions of scales and settings.

use num_traits::{One, ToPrimitive, Zero};
use smallvec::SmallVec;

use super::{Elaborate, Elaborator, Entity, MAX_STEPS, Scope, Target, Variable};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr as Node, ExprId};
use crate::func::Func;
use crate::id::Id;
use crate::index::{Guard, Index, Indices, Relation};
use crate::number::{Number, Power, integer, print as print_number};
use crate::program::{Axis, Kind, Scale, ValueId, symbol_of};
use crate::syntax::ast::{Affine, Binder, Comparison, Expr, ExprKind, GuardText, Modulus, Operator, Reference, Span};
use crate::syntax::format::affine_text;
use crate::syntax::names::{closest, stem};
use crate::syntax::parser::MAX_POWER;

impl Elaborator {
    /// Adds index variables to the scope.
    pub(super) fn bind(&mut self, binders: &[Binder], scope: &mut Scope) -> Elaborate<()> {
        for binder in binders {
            let name = &binder.name.text;
            if self.loop_value(name).is_some() || scope.variables.iter().any(|v| v.name == *name) {
                let problem = Diagnostic::new(
                    "duplicate-index",
                    format!("the index variable `{name}` is already in use"),
                    binder.name.span.into(),
                )
                .label("introduced again here")
                .help(format!("add a prime: `{name}'` also ranges over the axis `{}`", stem(name)));
                return Err(self.report(problem));
            }
            let axis = match &binder.axis {
                Some(axis) => self.find_axis(&axis.text, axis.span)?,
                None => self.find_axis(stem(name), binder.name.span)?,
            };
            self.push_variable(name.clone(), axis, scope);
        }
        Ok(())
    }

    pub(super) fn push_variable(&mut self, name: String, axis: Id<Axis>, scope: &mut Scope) {
        scope.variables.push(Variable { name, index: Index::Var(scope.fresh), axis });
        scope.fresh += 1;
    }

    /// An expression in the definition that comes next. What is wrong in it becomes a hole, so that the rest of the
    /// definition is looked at; fails only when the item has become too large.
    pub(super) fn expr(&mut self, e: &Expr, scope: &mut Scope) -> Elaborate<ExprId> {
        self.step(e.span)?;
        match self.term(e, scope) {
            Err(super::Skip) => self.hole(),
            term => term,
        }
    }

    fn term(&mut self, e: &Expr, scope: &mut Scope) -> Elaborate<ExprId> {
        if let Some(value) = self.literal(e) {
            return Ok(self.out.program.exprs.constant(value));
        }
        let node = match &e.kind {
            ExprKind::Number { value, .. } => Node::Const(value.clone()),
            ExprKind::Paren(inner) => return self.expr(inner, scope),
            ExprKind::Reference(reference) => return self.reference(reference, scope),
            ExprKind::Transposed(reference) => return Err(self.misplaced_transpose(reference, e.span)),
            ExprKind::Neg(inner) => Node::Neg(self.expr(inner, scope)?),
            ExprKind::Pow { base, exponent } => return self.power(base, Power::new(exponent.0, exponent.1), scope),
            ExprKind::Chain { first, rest } => return self.chain(first, rest, scope),
            ExprKind::Call { function, arguments } => {
                let func = self.function(&function.text, function.span, arguments.len(), e.span);
                let arguments: Vec<ExprId> = arguments.iter().map(|a| self.expr(a, scope)).collect::<Elaborate<_>>()?;
                match func {
                    Ok(func) => Node::Apply(func, arguments.into_iter().collect()),
                    // A hole that mentions what the function would: the dimensions are known from it.
                    Err(super::Skip) => {
                        let hole = self.hole()?;
                        let exprs = &mut self.out.program.exprs;
                        return Ok(arguments.into_iter().fold(hole, |sum, a| exprs.intern(Node::Add(sum, a))));
                    }
                }
            }
            ExprKind::Sum { binders, guards, body } => return self.sum(binders, guards, body, scope),
        };
        Ok(self.out.program.exprs.intern(node))
    }

    /// A literal with a sign, or a loop variable, which stands for a literal.
    fn signed_literal(&self, e: &Expr) -> Option<Number> {
        match &e.kind {
            ExprKind::Neg(inner) => self.unsigned_literal(inner).map(|v| -v),
            _ => self.unsigned_literal(e),
        }
    }

    fn unsigned_literal(&self, e: &Expr) -> Option<Number> {
        match &e.kind {
            ExprKind::Number { value, .. } => Some(value.clone()),
            ExprKind::Reference(r) if r.indices.is_empty() && r.name.parts.is_empty() => {
                self.loop_value(&r.name.base).map(integer)
            }
            _ => None,
        }
    }

    /// What is folded to one constant: `-2`, `1/3`, `-1/3`.
    fn literal(&self, e: &Expr) -> Option<Number> {
        match &e.kind {
            ExprKind::Chain { first, rest } if rest.len() == 1 => self.leading_fraction(first, rest),
            _ => self.signed_literal(e),
        }
    }

    /// The quotient of two literals at the start of a product.
    fn leading_fraction(&self, first: &Expr, rest: &[(Operator, Expr)]) -> Option<Number> {
        let (Operator::Div, below) = rest.first()? else { return None };
        let above = self.signed_literal(first)?;
        let below = self.unsigned_literal(below).filter(|v| !v.is_zero())?;
        Some(above / below)
    }

    fn chain(&mut self, first: &Expr, rest: &[(Operator, Expr)], scope: &mut Scope) -> Elaborate<ExprId> {
        let holes = self.holes;
        let (mut total, rest) = match self.leading_fraction(first, rest) {
            Some(value) => (self.out.program.exprs.constant(value), &rest[1..]),
            None => (self.expr(first, scope)?, rest),
        };
        // What is multiplied may have been meant as a matrix, so that the product has no known dimension.
        let mut unknown = holes < self.holes && total == self.hole_node();
        for (operator, operand) in rest {
            let operand = self.expr(operand, scope)?;
            unknown &= matches!(operator, Operator::Mul | Operator::Div);
            total = match operator {
                _ if unknown => self.hole_node(),
                Operator::Add => self.out.program.exprs.intern(Node::Add(total, operand)),
                Operator::Sub => self.out.program.exprs.intern(Node::Sub(total, operand)),
                Operator::Mul => self.out.program.exprs.intern(Node::Mul(total, operand)),
                Operator::Div => self.out.program.exprs.intern(Node::Div(total, operand)),
            };
        }
        Ok(total)
    }

    /// Stands for an expression that is wrong, as was reported. The definition that holds it is no part of a program.
    pub(super) fn hole(&mut self) -> Elaborate<ExprId> {
        if MAX_STEPS < self.steps {
            return Err(super::Skip);
        }
        self.holes += 1;
        Ok(self.hole_node())
    }

    fn hole_node(&mut self) -> ExprId {
        self.out.program.exprs.constant(Number::zero())
    }

    fn power(&mut self, base: &Expr, exponent: Power, scope: &mut Scope) -> Elaborate<ExprId> {
        if let ExprKind::Reference(r) = &base.kind
            && let Some(&(Entity::Class(class), _)) = self.names.get(&r.name.base)
            && r.name.parts.is_empty()
            && r.indices.is_empty()
        {
            let ratio = self.out.program.classes[class.index()].ratio.clone();
            let exprs = &mut self.out.program.exprs;
            let width = exprs.intern(Node::Width(exponent));
            if ratio.is_one() {
                return Ok(width);
            }
            let ratio = exprs.constant(ratio);
            let ratio = exprs.intern(Node::Pow(ratio, exponent));
            return Ok(exprs.intern(Node::Mul(ratio, width)));
        }
        let base = self.expr(base, scope)?;
        Ok(self.out.program.exprs.intern(Node::Pow(base, exponent)))
    }

    fn function(&mut self, name: &str, span: Span, given: usize, whole: Span) -> Elaborate<Func> {
        let Some(func) = Func::from_name(name) else {
            let mut problem = Diagnostic::new("unknown-function", format!("unknown function `{name}`"), span.into())
                .label("not a function of the language");
            if self.names.contains_key(name) {
                problem.label = "this is a value, not a function".into();
                problem.help = Some("a product is written with `*`".into());
            } else if name == "mean" {
                problem.help = Some("a moment is a definition of its own: `moment m = mean(...)`".into());
            } else if let Some(meant) = closest(name, Func::ALL.into_iter().map(Func::name)) {
                problem.help = Some(format!("did you mean `{meant}`?"));
            } else {
                let all: Vec<&str> = Func::ALL.into_iter().map(Func::name).collect();
                problem.notes.push(format!("the functions are {}", all.join(", ")));
            }
            return Err(self.report(problem));
        };
        let arity = func.facts().arity;
        if given != arity {
            let s = if arity == 1 { "" } else { "s" };
            let verb = if given == 1 { "is" } else { "are" };
            let problem = Diagnostic::new(
                "argument-count",
                format!("`{name}` takes {arity} argument{s}, but {given} {verb} given"),
                whole.into(),
            )
            .label(format!("expected {arity} argument{s}"));
            return Err(self.report(problem));
        }
        Ok(func)
    }

    fn sum(&mut self, binders: &[Binder], guards: &[GuardText], body: &Expr, scope: &mut Scope) -> Elaborate<ExprId> {
        let outer = scope.variables.len();
        let result = self.bind(binders, scope).and_then(|()| {
            let guards: Vec<_> = guards.iter().map(|guard| self.guard(guard, scope)).collect();
            // The body also below guards that are wrong.
            let body = self.expr(body, scope)?;
            Ok((guards.into_iter().collect::<Elaborate<Vec<Guard>>>()?, body))
        });
        let bound: SmallVec<[(Index, Id<Axis>); 2]> =
            scope.variables[outer..].iter().map(|v| (v.index, v.axis)).collect();
        scope.variables.truncate(outer);
        let (guards, body) = result?;
        Ok(self.out.program.exprs.sum_exact(&bound, guards, body))
    }

    fn guard(&mut self, guard: &GuardText, scope: &Scope) -> Elaborate<Guard> {
        let (left, left_constant) = self.guard_side(&guard.left, scope)?;
        let (right, right_constant) = self.guard_side(&guard.right, scope)?;
        let difference = |a: &[(i64, Index)], b: &[(i64, Index)]| -> Vec<(i64, Index)> {
            a.iter().copied().chain(b.iter().map(|&(c, i)| (-c, i))).collect()
        };
        let terms = difference(&left, &right);
        let constant = left_constant - right_constant;
        if let Some(modulus) = &guard.modulus {
            let (size, span) = match modulus {
                Modulus::Number(number) => (number.value, number.span),
                Modulus::Axis(axis) => {
                    let id = self.find_axis(&axis.text, axis.span)?;
                    (self.out.program.axis_size(id), axis.span)
                }
            };
            if guard.relation != Comparison::Equal || size == 0 {
                let message = if size == 0 { "a modulus is at least 1" } else { "`mod` goes with `=` only" };
                let problem = Diagnostic::new("bad-modulus", message, span.into()).label("this modulus");
                return Err(self.report(problem));
            }
            return Ok(Guard::new(Relation::EqMod(size), terms, constant));
        }
        Ok(match guard.relation {
            Comparison::Equal => Guard::new(Relation::Eq, terms, constant),
            Comparison::LessEqual => Guard::new(Relation::Le, terms, constant),
            Comparison::Less => Guard::new(Relation::Le, terms, constant + 1),
            Comparison::GreaterEqual => Guard::new(Relation::Le, difference(&right, &left), -constant),
            Comparison::Greater => Guard::new(Relation::Le, difference(&right, &left), 1 - constant),
        })
    }

    fn guard_side(&mut self, affine: &Affine, scope: &Scope) -> Elaborate<(Vec<(i64, Index)>, i64)> {
        let mut terms = Vec::new();
        let mut constant = 0i64;
        for term in &affine.terms {
            let Some(variable) = &term.variable else {
                constant = constant.saturating_add(term.coefficient);
                continue;
            };
            if let Some(value) = self.loop_value(&variable.text) {
                constant = constant.saturating_add(term.coefficient.saturating_mul(value));
                continue;
            }
            let found = scope.variables.iter().find(|v| v.name == variable.text);
            match found {
                Some(v) => terms.push((term.coefficient, v.index)),
                None => return Err(self.unknown_index(&variable.text, variable.span, scope)),
            }
        }
        if 1 << 60 < constant.abs() {
            let problem = Diagnostic::new("overflow", "this number is too large", affine.span.into());
            return Err(self.report(problem));
        }
        Ok((terms, constant))
    }

    fn unknown_index(&mut self, name: &str, span: Span, scope: &Scope) -> crate::syntax::elaborate::Skip {
        let mut problem = Diagnostic::new("unknown-index", format!("unknown index variable `{name}`"), span.into())
            .label("not in scope");
        let known: Vec<&str> = scope.variables.iter().map(|v| v.name.as_str()).collect();
        problem.help = closest(name, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        if problem.help.is_none() && self.out.program.find_axis(stem(name)).is_some() {
            problem.help =
                Some(format!("make the definition a family over `{name}`, or sum over it: `sum {name} ...`"));
        }
        if !known.is_empty() {
            let known: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
            problem.notes.push(format!("in scope: {}", known.join(", ")));
        }
        self.report(problem)
    }

    /// A reference to a value, table, width or number.
    fn reference(&mut self, r: &Reference, scope: &mut Scope) -> Elaborate<ExprId> {
        if r.name.base == "pi" && r.name.parts.is_empty() && r.indices.is_empty() {
            return Ok(self.out.program.exprs.intern(Node::Pi));
        }
        if r.name.parts.is_empty() && !self.names.contains_key(&r.name.base) {
            let is_index = scope.variables.iter().any(|v| v.name == r.name.base);
            if is_index {
                return Err(self.index_as_value(&r.name.base, r.span));
            }
        }
        let (entity, full) = self.lookup(&r.name, "value")?;
        match entity {
            Entity::Value(id) => {
                if let Kind::Matrix { .. } = self.out.program.value(id).ty.kind {
                    return Err(self.misplaced_matrix(&full, r.span));
                }
                let family = self.out.program.value(id).ty.family.clone();
                let indices = self.indices(r, &full, &family, scope)?;
                self.mention(Target::Value(symbol_of(id)), r.span);
                Ok(self.out.program.exprs.reference(symbol_of(id), indices))
            }
            Entity::Table(table) => {
                let axes = self.out.program.tables[table.index()].axes.clone();
                let indices = self.indices(r, &full, &axes, scope)?;
                self.mention(Target::Table(table), r.span);
                Ok(self.out.program.exprs.table(table, indices))
            }
            Entity::Class(_) if !r.indices.is_empty() => {
                let problem =
                    Diagnostic::new("index-count", format!("the width `{full}` has no indices"), r.span.into());
                Err(self.report(problem))
            }
            Entity::Class(class) => {
                let ratio = self.out.program.classes[class.index()].ratio.clone();
                let exprs = &mut self.out.program.exprs;
                let width = exprs.intern(Node::Width(Power::one()));
                if ratio.is_one() {
                    return Ok(width);
                }
                let ratio = exprs.constant(ratio);
                Ok(exprs.intern(Node::Mul(ratio, width)))
            }
            Entity::Axis(_) => Err(self.index_as_value(&full, r.span)),
        }
    }

    fn index_as_value(&mut self, name: &str, span: Span) -> super::Skip {
        let problem = Diagnostic::new("index-as-value", format!("`{name}` is an index, not a value"), span.into())
            .label("expected a value")
            .help(format!("numbers that depend on a position are entries of a table: `table c[{name}] = [...]`"));
        self.report(problem)
    }

    fn misplaced_transpose(&mut self, r: &Reference, span: Span) -> super::Skip {
        let Ok((entity, _)) = self.lookup(&r.name, "matrix") else { return super::Skip };
        if let Entity::Value(id) = entity
            && matches!(self.out.program.value(id).ty.kind, Kind::Matrix { .. })
        {
            return self.misplaced_matrix(&format!("{}'", r.name.base), span);
        }
        let problem = Diagnostic::new("misplaced-transpose", format!("`{}` is not a matrix", r.name.base), span.into())
            .label("only a matrix is transposed, at the start of a product: `W' * x`");
        self.report(problem)
    }

    fn misplaced_matrix(&mut self, name: &str, span: Span) -> super::Skip {
        let problem =
            Diagnostic::new("matrix-in-expression", format!("the matrix `{name}` inside an expression"), span.into())
                .label("a matrix product stands alone on its right-hand side")
                .help(format!("give the product a name: `h = {name} * x` on a line of its own, and use `h` here"));
        self.report(problem)
    }

    /// Notes where the definition that comes next mentions something.
    pub(super) fn mention(&mut self, target: Target, span: Span) {
        let next = ValueId::new(self.out.program.values.len());
        self.out.spans.mentions.entry((next, target)).or_insert(span.into());
    }

    /// The indices of a reference to a family over `axes`.
    pub(super) fn indices(
        &mut self,
        r: &Reference,
        full: &str,
        axes: &[Id<Axis>],
        scope: &Scope,
    ) -> Elaborate<Indices> {
        if r.indices.len() != axes.len() {
            let names: Vec<&str> = axes.iter().map(|&a| self.axis_name(a)).collect();
            let wanted = match axes.len() {
                0 => "no indices".to_owned(),
                1 => "1 index".to_owned(),
                k => format!("{k} indices"),
            };
            let mut problem = Diagnostic::new(
                "index-count",
                format!(
                    "`{full}` has {wanted}, but {} given",
                    match r.indices.len() {
                        0 => "none is".to_owned(),
                        1 => "1 is".to_owned(),
                        k => format!("{k} are"),
                    }
                ),
                r.span.into(),
            )
            .label(format!("expected {wanted}"));
            if !names.is_empty() {
                problem.help = Some(format!("write `{full}[{}]`", names.join(", ")));
            }
            return Err(self.report(problem));
        }
        let indices: Vec<_> = r.indices.iter().zip(axes).map(|(i, &axis)| self.index(i, full, axis, scope)).collect();
        indices.into_iter().collect()
    }

    fn index(&mut self, affine: &Affine, full: &str, axis: Id<Axis>, scope: &Scope) -> Elaborate<Index> {
        if let [term] = &affine.terms[..]
            && term.coefficient == 1
            && let Some(name) = &term.variable
            && self.loop_value(&name.text).is_none()
        {
            let Some(variable) = scope.variables.iter().find(|v| v.name == name.text).cloned() else {
                return Err(self.unknown_index(&name.text, name.span, scope));
            };
            if variable.axis != axis {
                let problem = Diagnostic::new(
                    "index-axis",
                    format!(
                        "`{}` ranges over the axis `{}`, but `{full}` has the axis `{}` here",
                        name.text,
                        self.axis_name(variable.axis),
                        self.axis_name(axis)
                    ),
                    name.span.into(),
                )
                .label(format!("expected an index over `{}`", self.axis_name(axis)))
                .help(format!(
                    "relate positions of two axes by a guard: `sum {axis}' [{axis}' = {}] ...`",
                    name.text,
                    axis = self.axis_name(axis)
                ));
                return Err(self.report(problem));
            }
            return Ok(variable.index);
        }
        let shifted =
            affine.terms.iter().filter_map(|t| t.variable.as_ref()).find(|v| self.loop_value(&v.text).is_none());
        if let Some(variable) = shifted {
            if !scope.variables.iter().any(|v| v.name == variable.text) {
                return Err(self.unknown_index(&variable.text, variable.span, scope));
            }
            let axis = self.axis_name(axis).to_owned();
            let problem = Diagnostic::new(
                "index-arithmetic",
                format!("an index of `{full}` is computed from `{}`", variable.text),
                affine.span.into(),
            )
            .label("an index is a variable or a fixed position")
            .help(format!(
                "write a guarded sum, which says what happens at the ends: `sum {axis}' [{axis}' = {}] ...`",
                affine_text(affine)
            ));
            return Err(self.report(problem));
        }
        let position = self.constant_affine(affine)?;
        let size = self.out.program.axis_size(axis);
        match u32::try_from(position) {
            Ok(position) if position < size => Ok(Index::At(position)),
            _ => {
                let problem = Diagnostic::new(
                    "index-out-of-range",
                    format!("position {position} is not on the axis `{}`", self.axis_name(axis)),
                    affine.span.into(),
                )
                .label(format!("the positions are 0 to {}", size.saturating_sub(1)));
                Err(self.report(problem))
            }
        }
    }

    /// A constant expression over numbers and widths: `coefficient * n^power`.
    pub(super) fn scale(&mut self, e: &Expr) -> Elaborate<Scale> {
        self.step(e.span)?;
        let scale = match &e.kind {
            ExprKind::Number { value, .. } => Scale::constant(value.clone()),
            ExprKind::Paren(inner) => self.scale(inner)?,
            ExprKind::Neg(inner) => {
                let inner = self.scale(inner)?;
                Scale::new(-inner.coefficient, inner.power)
            }
            ExprKind::Chain { first, rest } => {
                let mut total = self.scale(first)?;
                for (operator, operand) in rest {
                    let right = self.scale(operand)?;
                    total = match operator {
                        Operator::Mul => Scale::new(total.coefficient * right.coefficient, total.power + right.power),
                        Operator::Div if right.coefficient.is_zero() => {
                            return Err(self.not_a_scale(operand.span, "division by zero"));
                        }
                        Operator::Div => Scale::new(total.coefficient / right.coefficient, total.power - right.power),
                        Operator::Add if total.power == right.power => {
                            Scale::new(total.coefficient + right.coefficient, total.power)
                        }
                        Operator::Sub if total.power == right.power => {
                            Scale::new(total.coefficient - right.coefficient, total.power)
                        }
                        _ => return Err(self.not_a_scale(e.span, "a sum of different powers of n")),
                    };
                    if MAX_POWER < total.power.numer().abs() || MAX_POWER < *total.power.denom() {
                        return Err(self.not_a_scale(e.span, "an exponent that is too large"));
                    }
                }
                total
            }
            ExprKind::Pow { base, exponent } => {
                let base_scale = self.scale(base)?;
                let p = Power::new(exponent.0, exponent.1);
                let coefficient = if base_scale.coefficient.is_one() {
                    Number::one()
                } else {
                    match exponent {
                        (k, 1) if k.abs() <= 64 && (0 <= *k || !base_scale.coefficient.is_zero()) => {
                            let raised = num_traits::pow(base_scale.coefficient, k.unsigned_abs() as usize);
                            if *k < 0 { raised.recip() } else { raised }
                        }
                        _ => return Err(self.not_a_scale(e.span, "a power that is not rational")),
                    }
                };
                let power = base_scale.power * p;
                if MAX_POWER < power.numer().abs() || MAX_POWER < *power.denom() {
                    return Err(self.not_a_scale(e.span, "an exponent that is too large"));
                }
                Scale::new(coefficient, power)
            }
            ExprKind::Reference(r) if r.indices.is_empty() => {
                if let Some(value) = self.unsigned_literal(e) {
                    return Ok(Scale::constant(value));
                }
                if r.name.base == "pi" {
                    return Err(self.not_a_scale(e.span, "not rational"));
                }
                match self.lookup(&r.name, "width")? {
                    (Entity::Class(class), _) => {
                        let ratio = self.out.program.classes[class.index()].ratio.clone();
                        Scale::new(ratio, Power::one())
                    }
                    (entity, _) => return Err(self.not_a_scale(e.span, entity.describe())),
                }
            }
            _ => return Err(self.not_a_scale(e.span, "not a number")),
        };
        if 4096 < scale.coefficient.numer().bits().max(scale.coefficient.denom().bits()) {
            return Err(self.not_a_scale(e.span, "a number that is too long"));
        }
        Ok(scale)
    }

    fn not_a_scale(&mut self, span: Span, what: &str) -> super::Skip {
        let problem = Diagnostic::new(
            "not-a-scale",
            format!("expected a number times a power of a width, found {what}"),
            span.into(),
        )
        .label("not an exact multiple of a power of `n`")
        .help("for example `1/n`, `2/(3 * n)`, `0.1` or `n^(-1/2)`");
        self.report(problem)
    }

    /// A constant without a width.
    pub(super) fn number(&mut self, e: &Expr) -> Elaborate<Number> {
        let scale = self.scale(e)?;
        if scale.power.is_zero() {
            return Ok(scale.coefficient);
        }
        Err(self.not_a_number(e.span))
    }

    fn not_a_number(&mut self, span: Span) -> super::Skip {
        let problem = Diagnostic::new("not-a-number", "expected a number without a width", span.into());
        self.report(problem)
    }

    /// A rational exponent.
    pub(super) fn exponent(&mut self, e: &Expr) -> Elaborate<Power> {
        let value = self.number(e)?;
        let parts = value.numer().to_i64().zip(value.denom().to_i64());
        match parts.filter(|&(p, q)| p.abs() <= MAX_POWER && q <= MAX_POWER) {
            Some((p, q)) => Ok(Power::new(p, q)),
            None => {
                let problem = Diagnostic::new(
                    "exponent-too-large",
                    format!("the exponent {} is too large", print_number(&value)),
                    e.span.into(),
                );
                Err(self.report(problem))
            }
        }
    }
}
