//! Declarations and definitions.

use num_traits::{One, Signed, Zero};

use super::{Elaborate, Elaborator, Entity, Scope, Skip, Target};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr as Node, ExprId};
use crate::id::Id;
use crate::index::{Guard, Index};
use crate::number::{Number, Power, print as print_number};
use crate::program::{
    Axis, Dim, Instr, Kind, Law as CoreLaw, Operand, Scale, Type, Value, ValueId, WidthClass, symbol_of,
};
use crate::syntax::ast::{
    Binder, Body, Cross, Definition, Dimension, Entries, Expr, ExprKind, Ident, Integer, Law, LoopRange, Operator,
    Reference, Setting, SettingKey, Span, StackItems,
};
use crate::syntax::lift::{default_parameter, mentions_from, second_names};

/// A definition without its name and family.
struct Defined {
    kind: Kind,
    instr: Instr,
}

/// What makes a definition a parameter.
struct Trained<'a> {
    frozen: bool,
    settings: &'a [Setting],
}

impl Elaborator {
    pub(super) fn axis(&mut self, name: &Ident, size: &Integer) {
        if size.value == 0 {
            let problem =
                Diagnostic::new("empty-axis", format!("the axis `{}` has no positions", name.text), size.span.into())
                    .label("must be at least 1");
            self.report(problem);
            self.poisoned.insert(name.text.clone());
            return;
        }
        let id = Id::new(self.out.program.axes.len());
        if self.declare(&name.text, name.span, Entity::Axis(id)).is_ok() {
            self.out.program.axis(&name.text, size.value);
            self.out.spans.axes.push(name.span.into());
        }
    }

    pub(super) fn width(&mut self, name: &Ident, ratio: &Expr) {
        let Ok(scale) = self.scale(ratio) else {
            self.poisoned.insert(name.text.clone());
            return;
        };
        if !scale.power.is_one() || !scale.coefficient.is_positive() {
            let problem = Diagnostic::new("bad-width", "a width is a positive multiple of `n`", ratio.span.into())
                .label("expected for example `3/2 * n`");
            self.report(problem);
            self.poisoned.insert(name.text.clone());
            return;
        }
        let id = Id::new(self.out.program.classes.len());
        if self.declare(&name.text, name.span, Entity::Class(id)).is_ok() {
            self.out.program.classes.push(WidthClass { name: name.text.clone(), ratio: scale.coefficient });
            self.out.spans.classes.push(name.span.into());
        }
    }

    pub(super) fn table(&mut self, name: &Ident, binders: &[Binder], entries: &Entries) -> Elaborate<()> {
        let mut scope = Scope::default();
        self.bind(binders, &mut scope)?;
        let axes: Vec<Id<Axis>> = scope.variables.iter().map(|v| v.axis).collect();
        let mut numbers = Vec::new();
        self.entries(entries, &axes, &mut numbers)?;
        let id = Id::new(self.out.program.tables.len());
        self.declare(&name.text, name.span, Entity::Table(id))?;
        self.out.program.table(&name.text, &axes, numbers);
        self.out.spans.tables.push(name.span.into());
        Ok(())
    }

    fn entries(&mut self, entries: &Entries, axes: &[Id<Axis>], numbers: &mut Vec<Number>) -> Elaborate<()> {
        match (entries, axes) {
            (Entries::Number(value), []) => {
                let value = self.number(value)?;
                numbers.push(value);
                Ok(())
            }
            (Entries::List(members, span), [axis, inner @ ..]) => {
                let size = self.out.program.axis_size(*axis) as usize;
                if members.len() != size {
                    let problem = Diagnostic::new(
                        "table-shape",
                        format!(
                            "the axis `{}` has {size} positions, but {} entries are given",
                            self.axis_name(*axis),
                            members.len()
                        ),
                        (*span).into(),
                    )
                    .label(format!("expected {size} entries"));
                    return Err(self.report(problem));
                }
                members.iter().try_for_each(|member| self.entries(member, inner, numbers))
            }
            (Entries::Number(value), [axis, ..]) => {
                let problem = Diagnostic::new("table-shape", "a number where a list is expected", value.span.into())
                    .label(format!("expected a list over the axis `{}`", self.axis_name(*axis)));
                Err(self.report(problem))
            }
            (Entries::List(_, span), []) => {
                let problem = Diagnostic::new("table-shape", "a list where a number is expected", (*span).into())
                    .label("nested deeper than the table has axes");
                Err(self.report(problem))
            }
        }
    }

    /// The values of a loop variable.
    pub(super) fn loop_values(&mut self, variable: &Ident, range: &LoopRange) -> Elaborate<std::ops::Range<i64>> {
        let low = self.constant_affine(&range.low)?;
        let high = self.constant_affine(&range.high)?;
        let taken = self.names.get(&variable.text).is_some_and(|(entity, _)| !matches!(entity, Entity::Axis(_)));
        if taken || self.loop_value(&variable.text).is_some() {
            let problem = Diagnostic::new(
                "duplicate-name",
                format!("`{}` is already in use", variable.text),
                variable.span.into(),
            )
            .label("a loop variable needs a name of its own");
            return Err(self.report(problem));
        }
        Ok(low..if range.inclusive { high.saturating_add(1) } else { high })
    }

    pub(super) fn definition(&mut self, d: &Definition) {
        let Ok(name) = self.full_name(&d.name) else {
            self.poisoned.insert(d.name.base.clone());
            return;
        };
        self.holes = 0;
        if self.try_definition(d, &name).is_err() {
            let next = ValueId::new(self.out.program.values.len());
            self.out.spans.mentions.retain(|(value, _), _| *value != next);
            if !self.names.contains_key(&name) {
                self.poisoned.insert(name);
            }
        }
    }

    fn try_definition(&mut self, d: &Definition, name: &str) -> Elaborate<()> {
        let mut scope = Scope::default();
        self.bind(&d.binders, &mut scope)?;
        let family: Vec<Id<Axis>> = scope.variables.iter().map(|v| v.axis).collect();
        let index_names: Vec<String> = scope.variables.iter().map(|v| v.name.clone()).collect();
        let mut trained = None;
        let Defined { kind, instr } = match &d.body {
            Body::Data { dim } => Defined { kind: self.data_kind(dim.as_ref())?, instr: Instr::Data },
            Body::Matrix { dims, law } => self.matrix(dims.as_ref(), law)?,
            Body::Vector { dim, law } => {
                let dim = self.dimension_or_width(dim.as_ref())?;
                Defined { kind: Kind::Vector(dim), instr: Instr::Gaussian(self.law(law, &scope)?) }
            }
            Body::Param { dims: (first, second), law, frozen, settings } => {
                if !self.out.network {
                    let problem =
                        Diagnostic::new("param-in-program", "a parameter outside a network", d.name.span.into())
                            .label("programs have no parameters")
                            .help("make the item a `network`, or the parameter a `matrix` or `vector`");
                    return Err(self.report(problem));
                }
                trained = Some(Trained { frozen: *frozen, settings });
                match second {
                    Some(second) => self.matrix(Some(&(first.clone(), second.clone())), law)?,
                    None => {
                        let dim = self.dimension(first)?;
                        Defined { kind: Kind::Vector(dim), instr: Instr::Gaussian(self.law(law, &scope)?) }
                    }
                }
            }
            Body::Constant { dim, table } => self.constant(dim, table, &scope)?,
            Body::Plain { dim, value } => self.plain(dim.as_ref(), value, &mut scope)?,
            Body::Moment { value } => {
                Defined { kind: Kind::Scalar, instr: Instr::Moment(self.expr(value, &mut scope)?) }
            }
            Body::Scalar { value } => {
                Defined { kind: Kind::Scalar, instr: Instr::Scalar(self.expr(value, &mut scope)?) }
            }
            Body::Stack { items } => self.stack(d, items, &scope)?,
        };
        if d.output && !self.out.network {
            let problem = Diagnostic::new("output-in-program", "an output outside a network", d.name.span.into())
                .label("programs have no outputs")
                .help("remove `output`, or make the item a `network`");
            return Err(self.report(problem));
        }
        let id = ValueId::new(self.out.program.values.len());
        self.declare(name, d.name.span, Entity::Value(id))?;
        if 0 < self.holes {
            self.out.spans.holed.insert(id);
        }
        let ty = Type { kind, family };
        self.out.program.values.push(Value { name: name.to_owned(), index_names, ty, instr });
        self.out.spans.values.push(d.name.span.into());
        if d.output {
            self.out.outputs.push(id);
        }
        if let Some(trained) = trained {
            self.parameter(id, &trained);
        }
        Ok(())
    }

    fn data_kind(&mut self, dim: Option<&Dimension>) -> Elaborate<Kind> {
        match dim {
            None | Some(Dimension::Scalar(_)) => Ok(Kind::Scalar),
            Some(dim) => Ok(Kind::Vector(self.dimension(dim)?)),
        }
    }

    fn dimension_or_width(&mut self, dim: Option<&Dimension>) -> Elaborate<Dim> {
        dim.map_or(Ok(Dim::Width(Id::new(0))), |dim| self.dimension(dim))
    }

    fn dimension(&mut self, dim: &Dimension) -> Elaborate<Dim> {
        match dim {
            Dimension::Finite(size) if size.value == 0 => {
                let problem = Diagnostic::new("zero-dimension", "a dimension is at least 1", size.span.into());
                Err(self.report(problem))
            }
            Dimension::Finite(size) => Ok(Dim::Finite(size.value)),
            Dimension::Scalar(span) => {
                let problem =
                    Diagnostic::new("not-a-dimension", "expected a dimension, found `scalar`", (*span).into())
                        .label("only data and `scalar s = ...` are scalars");
                Err(self.report(problem))
            }
            Dimension::Width(name) => match self.names.get(&name.text) {
                Some(&(Entity::Class(class), _)) => Ok(Dim::Width(class)),
                Some(&(entity, _)) => {
                    let mut problem = Diagnostic::new(
                        "not-a-dimension",
                        format!("`{}` is {}, not a width", name.text, entity.describe()),
                        name.span.into(),
                    )
                    .label("expected a width or a number");
                    if let Entity::Axis(axis) = entity {
                        problem.help =
                            Some(format!("write the number of its positions: `{}`", self.out.program.axis_size(axis)));
                    }
                    Err(self.report(problem))
                }
                None if self.is_poisoned(&name.text) => Err(Skip),
                None => Err(self.unknown_name(&name.text, &name.text, name.span, "width")),
            },
        }
    }

    fn matrix(&mut self, dims: Option<&(Dimension, Dimension)>, law: &Law) -> Elaborate<Defined> {
        let n = Dim::Width(Id::new(0));
        let (rows, cols) = match dims {
            Some((rows, cols)) => (self.dimension(rows), self.dimension(cols)),
            None => (Ok(n), Ok(n)),
        };
        let variance = match self.matrix_variance(law) {
            Ok(variance) => variance,
            Err(Skip) => {
                self.hole()?;
                Scale::constant(Number::zero())
            }
        };
        Ok(Defined { kind: Kind::Matrix { rows: rows?, cols: cols? }, instr: Instr::Matrix { variance } })
    }

    fn matrix_variance(&mut self, law: &Law) -> Elaborate<Scale> {
        let mean = self.number(&law.mean)?;
        if !mean.is_zero() {
            let problem =
                Diagnostic::new("matrix-mean", "the entries of an initial matrix have mean 0", law.mean.span.into())
                    .label("must be 0")
                    .help("add the mean as a rank-one term in the definition that uses the product");
            return Err(self.report(problem));
        }
        if let Some(cross) = law.cross.first() {
            let problem = Diagnostic::new("matrix-covariance", "initial matrices are independent", cross.span.into())
                .label("a covariance of matrices");
            return Err(self.report(problem));
        }
        let variance = self.scale(&law.covariance)?;
        self.variance_sign(&variance.coefficient, law.covariance.span)?;
        Ok(variance)
    }

    fn variance_sign(&mut self, variance: &Number, span: Span) -> Elaborate<()> {
        if !variance.is_negative() {
            return Ok(());
        }
        let problem = Diagnostic::new("negative-variance", "a variance is not negative", span.into())
            .label(format!("this is {}", print_number(variance)))
            .help("the second argument of `N` is the variance, not the standard deviation");
        Err(self.report(problem))
    }

    fn law(&mut self, law: &Law, scope: &Scope) -> Elaborate<CoreLaw> {
        let own = scope.variables.len();
        let k = own as u32;
        let mean = self.expr(&law.mean, &mut scope.clone());
        let mut both = scope.clone();
        let names: Vec<String> = scope.variables.iter().map(|v| v.name.clone()).collect();
        for (name, variable) in second_names(&names).into_iter().zip(&scope.variables) {
            self.push_variable(name, variable.axis, &mut both);
        }
        let covariance = self.expr(&law.covariance, &mut both);
        let (mean, mut covariance) = (mean?, covariance?);
        let zero = self.out.program.exprs.is_zero(covariance);
        if 0 < own && !zero && !law.joint && !mentions_from(&self.out.program, covariance, k) {
            let same = (0..k).map(|i| Guard::equal(Index::Var(i), Index::Var(k + i)));
            covariance = self.out.program.exprs.sum_exact(&[], same, covariance);
        }
        let mut cross = Vec::new();
        for entry in &law.cross {
            match self.cross(entry, scope) {
                Ok(found) => cross.push(found),
                Err(Skip) => {
                    self.hole()?;
                }
            }
        }
        Ok(CoreLaw { mean, covariance, cross })
    }

    /// The covariance with another family.
    fn cross(&mut self, entry: &Cross, scope: &Scope) -> Elaborate<(ValueId, ExprId)> {
        let (entity, full) = self.lookup(&entry.with, "initial vector")?;
        let Entity::Value(with) = entity else {
            let problem = Diagnostic::new(
                "covariance-with",
                format!("`{full}` is {}, not an initial vector", entity.describe()),
                entry.with.span.into(),
            );
            return Err(self.report(problem));
        };
        self.mention(Target::Value(symbol_of(with)), entry.with.span);
        let axes = self.out.program.value(with).ty.family.clone();
        if entry.binders.len() != axes.len() {
            let problem = Diagnostic::new(
                "index-count",
                format!("`{full}` has {} indices, but {} are given", axes.len(), entry.binders.len()),
                entry.with.span.into(),
            )
            .label("each axis of the other family needs a variable here");
            return Err(self.report(problem));
        }
        let mut all = scope.clone();
        for (binder, axis) in entry.binders.iter().zip(axes) {
            if all.variables.iter().any(|v| v.name == binder.text) {
                let problem = Diagnostic::new(
                    "duplicate-index",
                    format!("the index variable `{}` is already in use", binder.text),
                    binder.span.into(),
                )
                .label("introduced again here")
                .help(format!("the indices of `{full}` are new variables: write `{}'`", binder.text));
                return Err(self.report(problem));
            }
            self.push_variable(binder.text.clone(), axis, &mut all);
        }
        Ok((with, self.expr(&entry.value, &mut all)?))
    }

    fn parameter(&mut self, id: ValueId, trained: &Trained<'_>) {
        let mut parameter = default_parameter(&self.out.program, id);
        parameter.trained = !trained.frozen;
        let mut seen: Vec<SettingKey> = Vec::new();
        for setting in trained.settings {
            let conflicting = |key: &SettingKey| {
                let factor = |k: SettingKey| matches!(k, SettingKey::Multiplier | SettingKey::MultiplierSquared);
                *key == setting.key || (factor(*key) && factor(setting.key))
            };
            if seen.iter().any(conflicting) {
                let problem = Diagnostic::new(
                    "duplicate-setting",
                    format!("`{}` is given twice", setting.key.text()),
                    setting.span.into(),
                );
                self.report(problem);
                continue;
            }
            seen.push(setting.key);
            let field: &mut Power = match setting.key {
                SettingKey::A => &mut parameter.a,
                SettingKey::B => &mut parameter.b,
                SettingKey::C => &mut parameter.c,
                SettingKey::Multiplier | SettingKey::MultiplierSquared => {
                    if let Ok(value) = self.number(&setting.value) {
                        if setting.key == SettingKey::Multiplier {
                            parameter.multiplier_squared = &value * &value;
                        } else if self.variance_sign(&value, setting.value.span).is_ok() {
                            parameter.multiplier_squared = value;
                        }
                    }
                    continue;
                }
            };
            if let Ok(value) = self.exponent(&setting.value) {
                *field = value;
            }
        }
        self.out.parameters.push(parameter);
    }

    fn constant(&mut self, dim: &Dimension, table: &Reference, scope: &Scope) -> Elaborate<Defined> {
        let dim = self.dimension(dim);
        let instr = match self.coordinates(table, scope) {
            Ok(instr) => instr,
            Err(Skip) => Instr::Map(self.hole()?),
        };
        Ok(Defined { kind: Kind::Vector(dim?), instr })
    }

    /// The rows of a table as vectors.
    fn coordinates(&mut self, table: &Reference, scope: &Scope) -> Elaborate<Instr> {
        let (entity, full) = self.lookup(&table.name, "table")?;
        let Entity::Table(id) = entity else {
            let problem = Diagnostic::new(
                "not-a-table",
                format!("`{full}` is {}, not a table", entity.describe()),
                table.span.into(),
            )
            .label("the coordinates of a constant are entries of a table");
            return Err(self.report(problem));
        };
        let axes = self.out.program.tables[id.index()].axes.clone();
        let Some((_, rows)) = axes.split_last() else {
            let problem = Diagnostic::new("index-count", format!("the table `{full}` has no axis"), table.span.into())
                .label("its last axis would be the coordinates");
            return Err(self.report(problem));
        };
        let indices = self.indices(table, &full, rows, scope)?;
        self.mention(Target::Table(id), table.span);
        Ok(Instr::Constant(id, indices))
    }

    /// A matrix product or a coordinatewise function.
    fn plain(&mut self, dim: Option<&Dimension>, value: &Expr, scope: &mut Scope) -> Elaborate<Defined> {
        let annotated = dim.map(|dim| self.dimension(dim)).transpose();
        if let Some(product) = self.product(value, scope)? {
            let kind = annotated?.map_or(product.kind, Kind::Vector);
            return Ok(Defined { kind, instr: product.instr });
        }
        let e = self.expr(value, scope)?;
        let Some(dim) = annotated?.or_else(|| self.out.program.expr_dim(e)) else {
            if 0 < self.holes {
                return Err(Skip);
            }
            let problem = Diagnostic::new("no-vector", "no vector is mentioned", value.span.into())
                .label("of what dimension is this?")
                .help("write `scalar s = ...` for a scalar, or `s : n = ...` for a constant vector");
            return Err(self.report(problem));
        };
        Ok(Defined { kind: Kind::Vector(dim), instr: Instr::Map(e) })
    }

    /// If the right-hand side begins with a matrix, the product that it must be.
    fn product(&mut self, value: &Expr, scope: &Scope) -> Elaborate<Option<Defined>> {
        let (first, rest) = match &value.kind {
            ExprKind::Chain { first, rest } => (&**first, &rest[..]),
            _ => return Ok(None),
        };
        let (left, transposed) = match &first.kind {
            ExprKind::Reference(r) => (r, false),
            ExprKind::Transposed(r) => (r, true),
            _ => return Ok(None),
        };
        let known = self.full_name(&left.name).ok().and_then(|full| self.names.get(&full).copied());
        let Some((Entity::Value(id), _)) = known else { return Ok(None) };
        let Kind::Matrix { rows, cols } = self.out.program.value(id).ty.kind else { return Ok(None) };
        let [(Operator::Mul, operand)] = rest else { return Ok(None) };
        let dim = if transposed { cols } else { rows };
        let instr = match self.product_of(id, left, transposed, operand, scope) {
            Ok(instr) => {
                self.mention(Target::Value(symbol_of(id)), first.span);
                instr
            }
            Err(Skip) => Instr::Map(self.hole()?),
        };
        Ok(Some(Defined { kind: Kind::Vector(dim), instr }))
    }

    /// The product of a matrix with a vector.
    fn product_of(
        &mut self,
        id: ValueId,
        left: &Reference,
        transposed: bool,
        operand: &Expr,
        scope: &Scope,
    ) -> Elaborate<Instr> {
        let name = self.out.program.value(id).name.clone();
        let ExprKind::Reference(right) = &operand.kind else {
            // What is wrong inside the operand is said as well.
            self.expr(operand, &mut scope.clone())?;
            let problem =
                Diagnostic::new("matmul-operand", format!("`{name}` multiplies an expression"), operand.span.into())
                    .label("expected the name of a vector")
                    .help("give the expression a name: `z = ...` on a line before, and multiply `z`");
            return Err(self.report(problem));
        };
        let (entity, full) = self.lookup(&right.name, "vector")?;
        let vector = match entity {
            Entity::Value(vector) => vector,
            _ => {
                let problem = Diagnostic::new(
                    "matmul-operand",
                    format!("`{full}` is {}, not a vector", entity.describe()),
                    right.span.into(),
                )
                .label(format!("`{name}` multiplies a vector"));
                return Err(self.report(problem));
            }
        };
        let matrix_axes = self.out.program.value(id).ty.family.clone();
        let vector_axes = self.out.program.value(vector).ty.family.clone();
        let left_indices = self.indices(left, &name, &matrix_axes, scope);
        let right_indices = self.indices(right, &full, &vector_axes, scope);
        let (left_indices, right_indices) = (left_indices?, right_indices?);
        self.mention(Target::Value(symbol_of(vector)), right.span);
        Ok(Instr::MatMul {
            matrix: Operand { value: id, indices: left_indices },
            transposed,
            vector: Operand { value: vector, indices: right_indices },
        })
    }

    /// `stack x[t, ...] = x@0, x@1`: members along the first axis.
    fn stack(&mut self, d: &Definition, items: &StackItems, scope: &Scope) -> Elaborate<Defined> {
        let Some(first) = scope.variables.first().cloned() else {
            let problem = Diagnostic::new("stack-axis", "a stack needs an axis to stack along", d.name.span.into())
                .label("no index")
                .help(format!("write `stack {}[t] = ...` with an axis `t`", d.name.base));
            return Err(self.report(problem));
        };
        let size = self.out.program.axis_size(first.axis) as usize;
        let mut members: Vec<ExprId> = Vec::new();
        match items {
            StackItems::List(list) => {
                self.stack_length(d, first.axis, list.len(), size)?;
                for item in list {
                    members.push(self.expr(item, &mut scope.clone())?);
                }
            }
            StackItems::Each { item, variable, range } => {
                if scope.variables.iter().any(|v| v.name == variable.text) {
                    let message = format!("`{}` is already an index of the stack", variable.text);
                    let problem = Diagnostic::new("duplicate-index", message, variable.span.into())
                        .label("a loop variable needs a name of its own");
                    return Err(self.report(problem));
                }
                let values = self.loop_values(variable, range)?;
                let count = usize::try_from(values.end.saturating_sub(values.start)).unwrap_or(0);
                self.stack_length(d, first.axis, count, size)?;
                for value in values {
                    self.step(item.span)?;
                    self.loops.push((variable.text.clone(), value));
                    let member = self.expr(item, &mut scope.clone());
                    self.loops.pop();
                    members.push(member?);
                }
            }
        }
        let exprs = &mut self.out.program.exprs;
        let mut total: Option<ExprId> = None;
        for (k, member) in members.into_iter().enumerate() {
            let here = Guard::equal(first.index, Index::At(k as u32));
            let term = exprs.sum_exact(&[], [here], member);
            total = Some(match total {
                Some(sum) => exprs.intern(Node::Add(sum, term)),
                None => term,
            });
        }
        let Some(e) = total else { return Err(Skip) };
        Ok(match self.out.program.expr_dim(e) {
            Some(dim) => Defined { kind: Kind::Vector(dim), instr: Instr::Map(e) },
            None => Defined { kind: Kind::Scalar, instr: Instr::Scalar(e) },
        })
    }

    fn stack_length(&mut self, d: &Definition, axis: Id<Axis>, given: usize, size: usize) -> Elaborate<()> {
        if given == size {
            return Ok(());
        }
        let axis = self.axis_name(axis).to_owned();
        let message = format!("the axis `{axis}` has {size} positions, but {given} members are given");
        let problem =
            Diagnostic::new("stack-length", message, d.name.span.into()).label(format!("stacked along `{axis}`"));
        Err(self.report(problem))
    }
}
