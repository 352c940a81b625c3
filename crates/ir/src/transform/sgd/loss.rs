//! Losses as expressions of the language, and their derivatives.

use crate::calculus::Derivative;
use crate::expr::ExprId;
use crate::id::Id;
use crate::index::{Index, Indices};
use crate::program::{Axis, Instr, Program, ValueId, symbol_of, value_of};
use crate::syntax::parse_program;
use crate::transform::TransformError;
use crate::transform::copy::{Leaves, copy_expr};

/// The loss of one member of an output, as a function of the output `f` and of target data `y`.
///
/// An output of one component is written `f` and its target `y`; with more components they are `f[c]` and `y[c]` over
/// the axis `c`. The terms of a batch, and of several outputs, are added with their weights.
///
/// ```
/// use netsor_ir::transform::Loss;
///
/// // The same loss three times: by name, by its value, by its derivative.
/// let _ = Loss::Squared;
/// let _ = Loss::Value("(f - y)^2 / 2".into());
/// let _ = Loss::Derivative("f - y".into());
/// // For an output of several components.
/// let _ = Loss::Value("log(sum c exp(f[c])) - sum c y[c] * f[c]".into());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Loss {
    /// `sum over c of (f[c] - y[c])^2 / 2`
    #[default]
    Squared,
    /// `sum over c of log(1 + exp(-y[c] f[c]))` for targets 1 and -1.
    Logistic,
    /// `-sum over c of y[c] log softmax(f)[c]`
    CrossEntropy,
    /// An expression of the language in `f` and `y`, which is differentiated.
    Value(String),
    /// The derivative of the loss in `f` (in `f[c]`, at the index `c`) as an expression of the language.
    Derivative(String),
}

/// A derivative over the index `c` if there is more than one component.
pub(super) struct LossDerivative {
    program: Program,
    f: ValueId,
    expr: ExprId,
}

impl Loss {
    /// The derivative for an output of `components` components.
    ///
    /// # Errors
    /// [`TransformError::Loss`] if the text is no expression in `f` and `y`.
    pub(super) fn derivative(&self, components: u32) -> Result<LossDerivative, TransformError> {
        let many = 1 < components;
        let (text, differentiate) = match (self, many) {
            (Self::Squared, false) => ("f - y", false),
            (Self::Squared, true) => ("f[c] - y[c]", false),
            (Self::Logistic, false) => ("-y * sigmoid(-y * f)", false),
            (Self::Logistic, true) => ("-y[c] * sigmoid(-y[c] * f[c])", false),
            // The softmax of one component is 1, whatever the output.
            (Self::CrossEntropy, false) => ("0 * f", false),
            // As differences, so that a large output cannot overflow.
            (Self::CrossEntropy, true) => ("(sum c' y[c']) / (sum c'' exp(f[c''] - f[c])) - y[c]", false),
            (Self::Value(text), _) => (text.as_str(), true),
            (Self::Derivative(text), _) => (text.as_str(), false),
        };
        let index = if many { "[c]" } else { "" };
        let axis = if many { format!("  axis c = {components}\n") } else { String::new() };
        let head = if differentiate { "loss".to_owned() } else { format!("loss{index}") };
        let source = format!("program loss {{\n{axis}  data f{index}\n  data y{index}\n  scalar {head} = {text}\n}}\n");
        let wrong = |reason: String| TransformError::Loss { text: text.to_owned(), reason };
        let mut program = parse_program(&source).map_err(|d| wrong(d.to_string()))?;
        let (Some(f), Some(loss)) = (program.find("f"), program.find("loss")) else {
            return Err(wrong("it must be one expression".into()));
        };
        let Instr::Scalar(expr) = program.value(loss).instr else {
            return Err(wrong("it must be one expression".into()));
        };
        if program.values.len() != 3 || !program.tables.is_empty() || usize::from(many) != program.axes.len() {
            return Err(wrong("it must be one expression".into()));
        }
        let expr = if differentiate { gradient(&mut program, expr, f, many) } else { expr };
        Ok(LossDerivative { program, f, expr })
    }
}

/// The derivative of a scalar expression in `f` (in `f[c]`, over the free variable `c`).
fn gradient(program: &mut Program, expr: ExprId, f: ValueId, many: bool) -> ExprId {
    let mut fresh = 1000;
    let wanted = |s| value_of(s) == f;
    let occurrences = program.exprs.occurrences(expr, Derivative::Pointwise, &mut fresh, &wanted);
    let mut terms = Vec::new();
    for at in occurrences {
        let same = at.indices.iter().map(|&i| (i, Index::Var(0))).take(usize::from(many));
        terms.push(program.exprs.sum_matching(&at.variables, same, at.guards, at.coefficient));
    }
    program.exprs.add_all(terms)
}

impl LossDerivative {
    /// The derivative written into another program, where the output and its target are families of scalars over the
    /// same `rank` indices, the last of which is the component if `component` is an axis.
    pub(super) fn write(
        &self,
        into: &mut Program,
        (f, y): (ValueId, ValueId),
        rank: usize,
        component: Option<Id<Axis>>,
    ) -> ExprId {
        let own = if component.is_some() { rank.saturating_sub(1) } else { rank };
        let rename = |index: Index| match index {
            Index::Var(0) => Index::Var(own as u32),
            other => other,
        };
        let mention = |symbol, indices: Indices| {
            let target = if value_of(symbol) == self.f { f } else { y };
            (symbol_of(target), (0..own as u32).map(Index::Var).chain(indices).collect())
        };
        let axis = |axis| component.unwrap_or(axis);
        let leaves = Leaves { mention: &mention, index: &rename, axis: &axis, table: &|table| table };
        copy_expr(&self.program.exprs, &mut into.exprs, self.expr, &leaves)
    }
}
