//! The verifier: what it takes for a program to mean something.
//!
//! Engines take [`Verified`] programs, which only this module makes. Every invariant is listed here; all that are
//! broken are reported together. No program value, however ill-formed, makes the verifier panic.
//!
//! **Names.** Axes, width classes, tables and values have different names, which are identifiers of the language (those
//! of values may have `@integer` parts). Index names are identifiers with primes, different within a definition, one an
//! axis of the family. The first width class is `n` with ratio 1; ratios are positive.
//!
//! **Shapes.** An axis has 1 to 2^24 positions. A table has as many entries as its axes say. A constant dimension is at
//! least 1. Ids of axes, classes, tables, values and expressions are in range.
//!
//! **Definitions.** A definition mentions earlier values only. Its instruction fits its kind:
//!
//! | instruction | kind | and |
//! | --- | --- | --- |
//! | `Data` | scalar, vector of constant dimension | |
//! | `Constant` | vector of constant dimension | the table's last axis has that many positions, the others are indexed |
//! | `Matrix` | matrix | the variance is not negative |
//! | `Gaussian` | vector | mean and covariances mention tables and scalar data only; joint only with earlier initial vectors of the same dimension, each once; covariances that are rational constants are symmetric and positive semi-definite |
//! | `MatMul` | vector | a matrix times a vector of the right dimension |
//! | `Map` | vector | mentions vectors of that dimension, and scalars |
//! | `Moment` | scalar | mentions vectors of one dimension, at least one, and scalars |
//! | `Scalar` | scalar | mentions scalars |
//!
//! **Expressions.** A reference has one index for each axis of its family, and each index is a variable over that axis
//! or a position on it. Variables are indices of the definition or bound by an enclosing sum. Functions have their
//! number of arguments. A sum binds a variable or has a guard; moduli are positive. Terms can be written down:
//! numbers have at most 350 digits, exponents and coefficients of guards are small, and brackets are nested at most
//! 200 deep.
//!
//! **Networks.** Parameters are initial matrices and vectors; outputs are scalars or vectors of constant dimension. Both
//! are listed in the order of their definitions, each once. The multiplier's square is not negative.

mod covariance;
mod expr;
mod network;

use std::ops::{Deref, Range};

use num_traits::{One, Signed};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::expr::ExprId;
use crate::id::Id;
use crate::network::Network;
use crate::number::{Number, Power};
use crate::program::{Axis, Dim, Instr, Kind, Operand, Program, Table, Value, ValueId, symbol_of};
use crate::syntax::{MAX_POWER, Spans, Target, is_identifier, is_index_name, is_value_name};

/// Most positions of an axis.
const MAX_AXIS: u32 = 1 << 24;
/// Most bits of a numerator or denominator: 350 digits.
const MAX_BITS: u64 = 1160;

/// A program or network that the verifier has passed.
#[derive(Clone, Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Gives the program up for changes.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Verified<Network> {
    /// The forward pass, which is verified with its network.
    pub fn to_program(&self) -> Verified<Program> {
        Verified(self.0.program.clone())
    }
}

/// Verifies a program.
///
/// # Errors
/// All broken invariants; they point into the printed program, which the diagnostics carry.
pub fn verify_program(program: Program) -> Result<Verified<Program>, Diagnostics> {
    let found = problems(&program, None, &FxHashSet::default());
    if found.is_empty() { Ok(Verified(program)) } else { Err(in_print(found, &program, None)) }
}

/// Verifies a network.
///
/// # Errors
/// All broken invariants; they point into the printed network, which the diagnostics carry.
pub fn verify_network(network: Network) -> Result<Verified<Network>, Diagnostics> {
    let found = problems(&network.program, Some(&network), &FxHashSet::default());
    if found.is_empty() { Ok(Verified(network)) } else { Err(in_print(found, &network.program, Some(&network))) }
}

fn in_print(found: Vec<Problem>, program: &Program, network: Option<&Network>) -> Diagnostics {
    let (text, spans) = crate::syntax::print_with_spans(program, network);
    let mut diagnostics = Diagnostics::new(found.into_iter().map(|problem| problem.at(&spans)).collect());
    diagnostics.printed = Some(text);
    diagnostics
}

/// All problems of a program, or of a network with its program. Of the values in `holed` some parts are missing, which
/// was reported elsewhere: only what is there is judged.
pub(crate) fn problems(program: &Program, network: Option<&Network>, holed: &FxHashSet<ValueId>) -> Vec<Problem> {
    let mut verifier = Verifier { program, holed, problems: Vec::new() };
    verifier.declarations();
    let declared = verifier.problems.is_empty();
    verifier.names();
    let mut broken = FxHashSet::default();
    for id in program.value_ids() {
        let before = verifier.problems.len();
        verifier.value(id);
        if before < verifier.problems.len() || holed.contains(&id) {
            broken.insert(id);
        }
    }
    if let Some(network) = network {
        verifier.network(network);
    }
    // Covariances are evaluated, which needs their definitions to be right.
    if declared {
        verifier.covariances(&broken);
    }
    verifier.problems
}

/// A part of a program that a problem is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    Item,
    Axis(usize),
    Class(usize),
    Table(usize),
    Value(ValueId),
    /// The first mention of something in the definition of a value.
    Mention(ValueId, Target),
}

/// A diagnostic about a part of a program instead of a span.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    diagnostic: Diagnostic,
    place: Place,
    secondary: Vec<(Place, String)>,
}

impl Problem {
    fn new(code: &'static str, message: impl Into<String>, place: Place) -> Self {
        Self { diagnostic: Diagnostic::new(code, message, 0..0), place, secondary: Vec::new() }
    }

    fn label(mut self, label: impl Into<String>) -> Self {
        self.diagnostic.label = label.into();
        self
    }

    fn secondary(mut self, place: Place, label: impl Into<String>) -> Self {
        self.secondary.push((place, label.into()));
        self
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.diagnostic.notes.push(note.into());
        self
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.diagnostic.help = Some(help.into());
        self
    }

    /// The diagnostic with its spans.
    pub(crate) fn at(self, spans: &Spans) -> Diagnostic {
        let mut diagnostic = self.diagnostic;
        diagnostic.span = locate(self.place, spans);
        let others = self.secondary.into_iter().map(|(place, label)| (locate(place, spans), label));
        diagnostic.secondary = others.filter(|(span, _)| !span.is_empty()).collect();
        diagnostic
    }
}

fn locate(place: Place, spans: &Spans) -> Range<usize> {
    let found = match place {
        Place::Item => None,
        Place::Axis(k) => spans.axes.get(k),
        Place::Class(k) => spans.classes.get(k),
        Place::Table(k) => spans.tables.get(k),
        Place::Value(id) => spans.values.get(id.index()),
        Place::Mention(id, target) => spans.mentions.get(&(id, target)).or_else(|| spans.values.get(id.index())),
    };
    found.unwrap_or(&spans.item).clone()
}

struct Verifier<'a> {
    program: &'a Program,
    holed: &'a FxHashSet<ValueId>,
    problems: Vec<Problem>,
}

impl Verifier<'_> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn declarations(&mut self) {
        let program = self.program;
        match program.classes.first() {
            Some(n) if n.name == "n" && n.ratio.is_one() => {}
            _ => {
                let message = "the first width class must be `n` with ratio 1";
                self.report(Problem::new("first-width", message, Place::Item));
            }
        }
        for (k, class) in program.classes.iter().enumerate() {
            if !class.ratio.is_positive() || too_long(&class.ratio) {
                self.report(
                    Problem::new(
                        "bad-width",
                        format!("the width `{}` is not a positive multiple of `n`", class.name),
                        Place::Class(k),
                    )
                    .label("positive, and of at most 350 digits"),
                );
            }
        }
        for (k, axis) in program.axes.iter().enumerate() {
            if axis.size == 0 || MAX_AXIS < axis.size {
                let message = format!("the axis `{}` has {} positions", axis.name, axis.size);
                self.report(
                    Problem::new("axis-size", message, Place::Axis(k)).label(format!("expected 1 to {MAX_AXIS}")),
                );
            }
        }
        for (k, table) in program.tables.iter().enumerate() {
            let sizes: Option<Vec<u32>> = table.axes.iter().map(|&a| self.axis(a).map(|axis| axis.size)).collect();
            let Some(sizes) = sizes else {
                let message = format!("the table `{}` has an axis that does not exist", table.name);
                self.report(Problem::new("unknown-id", message, Place::Table(k)));
                continue;
            };
            let wanted = sizes.iter().try_fold(1usize, |p, &s| p.checked_mul(s as usize));
            if wanted != Some(table.entries.len()) {
                let shape: Vec<String> = sizes.iter().map(u32::to_string).collect();
                let message = format!("the table `{}` has {} entries", table.name, table.entries.len());
                let label = format!(
                    "its axes have {} positions",
                    if shape.is_empty() { "no".into() } else { shape.join(" x ") }
                );
                self.report(Problem::new("table-shape", message, Place::Table(k)).label(label));
            }
            if table.entries.iter().any(too_long) {
                self.report(Problem::new("number-too-long", "an entry has more than 350 digits", Place::Table(k)));
            }
        }
    }

    fn names(&mut self) {
        let program = self.program;
        if !is_identifier(&program.name) {
            let message = format!("`{}` cannot be the name of a program", program.name);
            self.report(
                Problem::new("bad-name", message, Place::Item).label("expected an identifier that is no keyword"),
            );
        }
        let axes = program.axes.iter().enumerate().map(|(k, a)| (&a.name, Place::Axis(k), is_identifier(&a.name)));
        let classes =
            program.classes.iter().enumerate().map(|(k, c)| (&c.name, Place::Class(k), is_identifier(&c.name)));
        let tables = program.tables.iter().enumerate().map(|(k, t)| (&t.name, Place::Table(k), is_identifier(&t.name)));
        let values = program
            .value_ids()
            .map(|id| (&program.value(id).name, Place::Value(id), is_value_name(&program.value(id).name)));
        let mut seen: FxHashMap<&str, Place> = FxHashMap::default();
        let mut found = Vec::new();
        for (name, place, printable) in axes.chain(classes).chain(tables).chain(values) {
            if !printable {
                let message = format!("`{}` cannot be a name", name.escape_debug());
                found.push(Problem::new("bad-name", message, place).label("expected an identifier that is no keyword"));
            } else if let Some(&first) = seen.get(name.as_str()) {
                let problem = Problem::new("duplicate-name", format!("`{name}` is defined twice"), place)
                    .label("defined again here")
                    .secondary(first, "first defined here");
                found.push(problem);
            } else {
                seen.insert(name, place);
            }
        }
        self.problems.append(&mut found);
    }

    fn axis(&self, id: Id<Axis>) -> Option<&Axis> {
        self.program.axes.get(id.index())
    }

    fn axis_name(&self, id: Id<Axis>) -> String {
        self.axis(id).map_or_else(|| "?".into(), |axis| axis.name.clone())
    }

    fn table(&self, id: Id<Table>) -> Option<&Table> {
        self.program.tables.get(id.index())
    }

    /// The value behind an operand, which must be earlier than `user`.
    fn earlier(&mut self, user: ValueId, id: ValueId) -> Option<&Value> {
        if id < user {
            return self.program.values.get(id.index());
        }
        let name = &self.program.value(user).name;
        let problem = match self.program.values.get(id.index()) {
            Some(other) => Problem::new(
                "used-before-definition",
                format!("`{name}` is defined by `{}`, which comes later", other.name),
                Place::Value(user),
            )
            .secondary(Place::Value(id), "defined here"),
            None => {
                Problem::new("unknown-id", format!("`{name}` mentions a value that does not exist"), Place::Value(user))
            }
        };
        self.report(problem.note("a program is a list of definitions, each over earlier ones"));
        None
    }

    fn dim_text(&self, dim: Dim) -> String {
        match dim {
            Dim::Finite(size) => size.to_string(),
            Dim::Width(class) => self.program.classes.get(class.index()).map_or_else(|| "?".into(), |c| c.name.clone()),
        }
    }

    fn kind_text(&self, kind: Kind) -> String {
        match kind {
            Kind::Matrix { rows, cols } => format!("a matrix of {} x {}", self.dim_text(rows), self.dim_text(cols)),
            Kind::Vector(dim) => format!("a vector of dimension {}", self.dim_text(dim)),
            Kind::Scalar => "a scalar".into(),
        }
    }

    fn dim(&mut self, id: ValueId, dim: Dim) {
        let message = match dim {
            Dim::Finite(0) => format!("`{}` has dimension 0", self.program.value(id).name),
            Dim::Width(class) if self.program.classes.len() <= class.index() => {
                format!("`{}` has a width that does not exist", self.program.value(id).name)
            }
            _ => return,
        };
        self.report(Problem::new("bad-dimension", message, Place::Value(id)));
    }

    fn value(&mut self, id: ValueId) {
        let program = self.program;
        let value = program.value(id);
        match value.ty.kind {
            Kind::Matrix { rows, cols } => {
                self.dim(id, rows);
                self.dim(id, cols);
            }
            Kind::Vector(dim) => self.dim(id, dim),
            Kind::Scalar => {}
        }
        if value.ty.family.iter().any(|&axis| self.axis(axis).is_none()) {
            let message = format!("`{}` is a family over an axis that does not exist", value.name);
            self.report(Problem::new("unknown-id", message, Place::Value(id)));
            return;
        }
        let names = &value.index_names;
        let distinct = names.iter().enumerate().all(|(k, name)| !names[..k].contains(name));
        if names.len() != value.ty.family.len() || !distinct || !names.iter().all(|name| is_index_name(name)) {
            let message = format!(
                "`{}` needs a name for each index: {} axes, names {names:?}",
                value.name,
                value.ty.family.len()
            );
            self.report(
                Problem::new("bad-index-names", message, Place::Value(id)).label("identifiers with primes, each once"),
            );
            return;
        }
        self.instruction(id, value);
    }

    fn instruction(&mut self, id: ValueId, value: &Value) {
        let family = &value.ty.family[..];
        match (&value.instr, value.ty.kind) {
            (Instr::Data, Kind::Scalar | Kind::Vector(Dim::Finite(_))) => {}
            (Instr::Data, Kind::Vector(Dim::Width(_))) => {
                let message = format!("the data `{}` has a width as its dimension", value.name);
                self.report(
                    Problem::new("data-dimension", message, Place::Value(id))
                        .label("data are scalars or vectors of constant dimension")
                        .help("map data into the width by a matrix: `param U : n x 3 ~ N(0, 1/3)`, `g = U * xi`"),
                );
            }
            (Instr::Constant(table, indices), Kind::Vector(Dim::Finite(size))) => {
                let Some((last, axes)) = self.table(*table).and_then(|t| t.axes.split_last()) else {
                    let message = format!("`{}` needs a table with an axis for its coordinates", value.name);
                    self.report(Problem::new("unknown-id", message, Place::Value(id)));
                    return;
                };
                let (last, axes) = (*last, axes.to_vec());
                if let Some(axis) = self.axis(last)
                    && axis.size != size
                {
                    let message = format!(
                        "`{}` has dimension {size}, but the last axis of its table, `{}`, has {} positions",
                        value.name, axis.name, axis.size
                    );
                    self.report(Problem::new("dimension-mismatch", message, Place::Mention(id, Target::Table(*table))));
                }
                self.indices(id, Target::Table(*table), indices, &axes, &expr::Context::free(family));
            }
            (Instr::Matrix { variance }, Kind::Matrix { .. }) => {
                if variance.coefficient.is_negative() {
                    let message = format!("the variance of `{}` is negative", value.name);
                    self.report(Problem::new("negative-variance", message, Place::Value(id)));
                }
                self.printable(id, &variance.coefficient, variance.power);
            }
            (Instr::Gaussian(law), Kind::Vector(dim)) => self.law(id, law, dim, family),
            (Instr::MatMul { matrix, transposed, vector }, Kind::Vector(dim)) => {
                self.matmul(id, matrix, *transposed, vector, dim, family);
            }
            (Instr::Map(e), Kind::Vector(dim)) => {
                self.expression(id, *e, family, expr::Role::Map(dim));
            }
            (Instr::Moment(e), Kind::Scalar) => {
                self.expression(id, *e, family, expr::Role::Moment);
            }
            (Instr::Scalar(e), Kind::Scalar) => {
                self.expression(id, *e, family, expr::Role::Scalar);
            }
            (_, kind) => {
                let message = format!("`{}` cannot be {}", value.name, self.kind_text(kind));
                self.report(
                    Problem::new("kind-mismatch", message, Place::Value(id))
                        .label("its instruction makes something else"),
                );
            }
        }
    }

    fn law(&mut self, id: ValueId, law: &crate::program::Law, dim: Dim, family: &[Id<Axis>]) {
        let twice: Vec<Id<Axis>> = family.iter().chain(family).copied().collect();
        self.expression(id, law.mean, family, expr::Role::Law);
        self.expression(id, law.covariance, &twice, expr::Role::Law);
        for (k, &(with, covariance)) in law.cross.iter().enumerate() {
            let Some(other) = self.earlier(id, with).cloned() else { continue };
            let place = Place::Mention(id, Target::Value(symbol_of(with)));
            if law.cross[..k].iter().any(|&(w, _)| w == with) {
                let message = format!("the covariance with `{}` is given twice", other.name);
                self.report(Problem::new("duplicate-covariance", message, place));
            }
            match (&other.instr, other.ty.kind) {
                (Instr::Gaussian(_), Kind::Vector(theirs)) if theirs == dim => {}
                (Instr::Gaussian(_), Kind::Vector(theirs)) => {
                    let message = format!(
                        "a covariance of vectors of dimensions {} and {}",
                        self.dim_text(dim),
                        self.dim_text(theirs)
                    );
                    self.report(
                        Problem::new("covariance-with", message, place)
                            .label(format!("`{}` has dimension {}", other.name, self.dim_text(theirs)))
                            .note(
                                "initial vectors are joint coordinate by coordinate, so their dimensions are the same",
                            ),
                    );
                }
                _ => {
                    let message = format!("`{}` is not an initial vector", other.name);
                    self.report(
                        Problem::new("covariance-with", message, place).label("only initial vectors have a covariance"),
                    );
                }
            }
            let both: Vec<Id<Axis>> = family.iter().chain(&other.ty.family).copied().collect();
            self.expression(id, covariance, &both, expr::Role::Law);
        }
    }

    fn matmul(
        &mut self,
        id: ValueId,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
        dim: Dim,
        family: &[Id<Axis>],
    ) {
        let left = self.earlier(id, matrix.value).cloned();
        let right = self.earlier(id, vector.value).cloned();
        let (Some(left), Some(right)) = (left, right) else { return };
        let context = expr::Context::free(family);
        let left_target = Target::Value(symbol_of(matrix.value));
        let right_target = Target::Value(symbol_of(vector.value));
        self.indices(id, left_target, &matrix.indices, &left.ty.family, &context);
        self.indices(id, right_target, &vector.indices, &right.ty.family, &context);
        let Kind::Matrix { rows, cols } = left.ty.kind else {
            let message = format!("`{}` is {}, not a matrix", left.name, self.kind_text(left.ty.kind));
            self.report(
                Problem::new("matmul-operand", message, Place::Mention(id, left_target)).label("expected a matrix"),
            );
            return;
        };
        let (result, inner) = if transposed { (cols, rows) } else { (rows, cols) };
        let prime = if transposed { "'" } else { "" };
        let Kind::Vector(given) = right.ty.kind else {
            let message = format!("`{}` is {}, not a vector", right.name, self.kind_text(right.ty.kind));
            self.report(Problem::new("matmul-operand", message, Place::Mention(id, right_target)).label(format!(
                "`{}{prime}` multiplies a vector of dimension {}",
                left.name,
                self.dim_text(inner)
            )));
            return;
        };
        if given != inner {
            let message = format!(
                "`{}{prime}` is {} x {}, but `{}` has dimension {}",
                left.name,
                self.dim_text(result),
                self.dim_text(inner),
                right.name,
                self.dim_text(given)
            );
            let mut problem = Problem::new("dimension-mismatch", message, Place::Mention(id, right_target))
                .label(format!("expected a vector of dimension {}", self.dim_text(inner)))
                .secondary(
                    Place::Value(matrix.value),
                    format!("a matrix of {} x {}", self.dim_text(rows), self.dim_text(cols)),
                );
            if given == result {
                let other = if transposed { "" } else { "'" };
                problem = problem.help(format!("did you mean `{}{other} * {}`?", left.name, right.name));
            }
            self.report(problem);
        }
        if dim != result {
            let message = format!(
                "`{}` is declared with dimension {}, but the product has dimension {}",
                self.program.value(id).name,
                self.dim_text(dim),
                self.dim_text(result)
            );
            self.report(Problem::new("dimension-mismatch", message, Place::Value(id)));
        }
    }

    /// Numbers and powers that the text form can hold.
    fn printable(&mut self, id: ValueId, number: &Number, power: Power) {
        if too_long(number) {
            let message = format!("a number in `{}` has more than 350 digits", self.program.value(id).name);
            self.report(Problem::new("number-too-long", message, Place::Value(id)));
        }
        if too_large(power) {
            let message = format!("an exponent in `{}` is too large", self.program.value(id).name);
            self.report(
                Problem::new("exponent-too-large", message, Place::Value(id))
                    .label("numerator and denominator may be at most 1000000"),
            );
        }
    }

    /// Whether an expression id is in range; reports it otherwise.
    fn known(&mut self, id: ValueId, e: ExprId) -> bool {
        let known = e.index() < self.program.exprs.len();
        if !known {
            let message = format!("`{}` has an expression that does not exist", self.program.value(id).name);
            self.report(Problem::new("unknown-id", message, Place::Value(id)));
        }
        known
    }
}

fn too_long(number: &Number) -> bool {
    MAX_BITS < number.numer().bits().max(number.denom().bits())
}

fn too_large(power: Power) -> bool {
    MAX_POWER < power.numer().saturating_abs() || MAX_POWER < power.denom().saturating_abs() || *power.denom() <= 0
}
