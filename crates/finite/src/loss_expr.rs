//! Losses that a user writes as an expression of the language.

use netsor_ir::calculus::Derivative;
use netsor_ir::index::{Guard, Index, Relation};
use netsor_ir::program::{Instr, Program, symbol_of};
use netsor_ir::syntax::parse_program;
use netsor_ir::tape::{Setting, Tape};

use crate::FiniteError;
use crate::float::Numeric;

/// A loss written in the language of programs, with its derivative.
///
/// `f` and `y` are a component of an output and its target, and the loss is the sum over components; or, with an index,
/// `f[k]` and `y[k]` are all components over an axis `k`, and the expression is the whole loss.
///
/// ```
/// use netsor_finite::ExpressionLoss;
///
/// let huber = ExpressionLoss::parse("sqrt(1 + (f - y)^2) - 1", 2)?;
/// let mut gradient = [0.0; 2];
/// let loss = huber.eval(&[3.0, 1.0], &[0.0, 1.0], &mut gradient);
/// assert!((loss - (10.0f64.sqrt() - 1.0)).abs() < 1e-15);
/// assert!((gradient[0] - 3.0 / 10.0f64.sqrt()).abs() < 1e-15);
///
/// let margin = ExpressionLoss::parse("exp(sum k (1 - y[k]) * f[k]) - sum k y[k] * f[k]", 2)?;
/// assert_eq!(margin.eval(&[1.0, 0.0], &[1.0, 0.0], &mut gradient), 0.0);
/// # Ok::<(), netsor_finite::FiniteError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ExpressionLoss {
    components: usize,
    /// The loss, then its derivative in each component.
    tape: Tape<f64>,
    /// For each leaf of the tape, whether it is a target, and its component.
    leaves: Vec<(bool, usize)>,
}

impl ExpressionLoss {
    /// Reads an expression for outputs of this many components.
    ///
    /// # Errors
    /// If it is not an expression in `f` and `y`, with what the parser says.
    pub fn parse(text: &str, components: usize) -> Result<Self, FiniteError> {
        let fail = |problem: String| FiniteError::Loss { text: text.to_owned(), problem };
        if components == 0 || text.contains(['\n', '#', '{', '}']) {
            return Err(fail("expected one expression in `f` and `y`".to_owned()));
        }
        let of_family = text.contains('[');
        let family = if of_family { "[k] : scalar" } else { "" };
        let source = format!(
            "program loss {{\n  axis k = {components}\n  data f{family}\n  data y{family}\n  scalar loss = {text}\n}}"
        );
        let mut program = parse_program(&source).map_err(|e| fail(e.to_string()))?;
        let (Some(f), Some(y), Some(loss)) = (program.find("f"), program.find("y"), program.find("loss")) else {
            return Err(fail("it defines other values".to_owned()));
        };
        let Instr::Scalar(root) = program.value(loss).instr else {
            return Err(fail("it is no scalar".to_owned()));
        };
        let derivative = derivative(&mut program, root, f, of_family);
        let own: Vec<[Index; 1]> = (0..components as u32).map(|k| [Index::At(k)]).collect();
        let mut roots: Vec<(netsor_ir::ExprId, &[Index])> = Vec::new();
        if of_family {
            roots.push((root, &[]));
            roots.extend(own.iter().map(|k| (derivative, &k[..])));
        } else {
            roots.extend([(root, &[][..]), (derivative, &[][..])]);
        }
        let setting = Setting::of_program(&program, 1.0, &Numeric);
        let tape = Tape::compile(&setting, &roots).map_err(|e| fail(e.to_string()))?;
        let leaf = |(symbol, indices): &(netsor_ir::Symbol, netsor_ir::Indices)| {
            let component = match indices.first() {
                Some(Index::At(k)) => *k as usize,
                None => 0,
                Some(_) => return None,
            };
            (*symbol == symbol_of(f) || *symbol == symbol_of(y)).then_some((*symbol == symbol_of(y), component))
        };
        let leaves: Option<Vec<(bool, usize)>> = tape.inputs().iter().map(leaf).collect();
        let leaves = leaves.ok_or_else(|| fail("it mentions something besides `f` and `y`".to_owned()))?;
        // Without an index, one tape serves all components.
        Ok(Self { components: if of_family { components } else { 0 }, tape, leaves })
    }

    /// The loss, and its derivative in `f` into `gradient`.
    ///
    /// # Panics
    /// If the lengths differ, or are not the number of components where the expression has an index.
    pub fn eval(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) -> f64 {
        assert!(f.len() == y.len() && f.len() == gradient.len(), "an output, its target and the gradient");
        let at = |offset: usize| -> Vec<f64> {
            let inputs: Vec<f64> =
                self.leaves.iter().map(|&(target, k)| if target { y[offset + k] } else { f[offset + k] }).collect();
            self.tape.eval_once(&inputs)
        };
        if self.components == 0 {
            let one = |(k, g): (usize, &mut f64)| {
                let values = at(k);
                *g = values[1];
                values[0]
            };
            return gradient.iter_mut().enumerate().map(one).sum();
        }
        assert_eq!(f.len(), self.components, "components of the loss");
        let values = at(0);
        gradient.copy_from_slice(&values[1..]);
        values[0]
    }
}

/// The derivative of `root` in `f`, or in its member `Var(0)`.
fn derivative(
    program: &mut Program,
    root: netsor_ir::ExprId,
    f: netsor_ir::ValueId,
    of_family: bool,
) -> netsor_ir::ExprId {
    let mut fresh = 1;
    let occurrences =
        program.exprs.occurrences(root, Derivative::Pointwise, &mut fresh, &|symbol| symbol == symbol_of(f));
    let mut terms = Vec::new();
    for occurrence in occurrences {
        let mut guards: Vec<Guard> = occurrence.guards.to_vec();
        if of_family {
            let same = Guard::new(Relation::Eq, [(1, occurrence.indices[0]), (-1, Index::Var(0))], 0);
            guards.push(same);
        }
        terms.push(program.exprs.sum(&occurrence.variables, guards, occurrence.coefficient));
    }
    program.exprs.add_all(terms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loss;

    /// The built-in losses written as expressions, at some points: the same to rounding.
    #[test]
    fn expressions_are_the_losses_they_say() {
        let cases = [
            ("(f - y)^2 / 2", Loss::Squared, [0.3, -1.0, 2.0]),
            ("log(1 + exp(-y * f))", Loss::Logistic, [1.0, -1.0, 1.0]),
            ("(sum k y[k]) * log(sum k exp(f[k])) - sum k y[k] * f[k]", Loss::CrossEntropy, [0.0, 0.25, 0.75]),
        ];
        let f = [0.7, -0.4, 1.1];
        for (text, loss, y) in cases {
            let expression = ExpressionLoss::parse(text, 3).unwrap();
            let (mut a, mut b) = ([0.0; 3], [0.0; 3]);
            let (found, expected) = (expression.eval(&f, &y, &mut a), loss.eval(&f, &y, &mut b));
            assert!((found - expected).abs() < 1e-14, "{text}: {found} {expected}");
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-14), "{text}: {a:?} {b:?}");
        }
    }

    #[test]
    fn what_is_no_loss_is_refused() {
        for text in ["", "f +", "g * f", "f[j]", "f } program p {", "mean(f)", "f[k]", "f[0] * y[7]"] {
            let error = ExpressionLoss::parse(text, 3);
            assert!(matches!(error, Err(FiniteError::Loss { .. })), "{text}: {error:?}");
        }
    }
}
