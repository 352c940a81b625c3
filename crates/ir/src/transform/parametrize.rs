//! `parametrize`: a network with other powers of the width, by the part that each parameter plays.
//!
//! The constants of the network, such as the variance 2 of a ReLU layer or the fan-in of the inputs, stay: only powers
//! of `n` change, in the laws of initial tensors and in the learning rates.

use std::collections::BTreeMap;

use num_traits::{One, Zero};

use super::TransformError;
use crate::abc::Abc;
use crate::expr::{Expr, ExprId};
use crate::network::{Network, Parameter, Role};
use crate::number::{Number, Power, power};
use crate::program::{Dim, Instr, Kind, Law, Program, Scale, ValueId};

/// The exponents of every parameter of a network: by its role, or by its name.
///
/// ```
/// use netsor_ir::syntax::parse_network;
/// use netsor_ir::transform::{Parametrization, parametrize};
///
/// let network = parse_network(
///     "network mlp {
///        data xi : 3
///        param U : n x 3 ~ N(0, 1/3)
///        param W : n x n ~ N(0, 2/n)
///        param v : n x 1 ~ N(0, 1/n)
///        g = U * xi
///        z = tanh(g)
///        h = W * z
///        x = tanh(h)
///        output f = v' * x
///      }",
/// )?;
/// let mup = parametrize(&network, &Parametrization::maximal_update())?;
/// let text = netsor_ir::syntax::print_network(&mup);
/// assert!(text.contains("with a = 0.5, b = 0.5"), "{text}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parametrization {
    /// Input weights and biases: from a constant dimension to a width.
    pub input: Abc,
    /// From a width to a width; `None` if the parametrization has no meaning for more than one hidden layer.
    pub hidden: Option<Abc>,
    /// Readouts: from a width to a constant dimension.
    pub output: Abc,
    /// Tensors without a width, such as the bias of a readout.
    pub finite: Abc,
    /// Parameters that go their own way, by name.
    pub named: BTreeMap<String, Abc>,
    /// Where the constant part of a standard deviation is.
    pub constant: Constant,
}

/// Where the constant part of a standard deviation is. It decides how fast a parameter learns, not how it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// A factor of the forward pass, as in the NTK parametrization: the learning rate is multiplied by the variance.
    Multiplier,
    /// In the law of the tensor.
    Law,
}

impl Parametrization {
    fn of(input: [(i64, i64); 3], hidden: Option<[(i64, i64); 3]>, output: [(i64, i64); 3]) -> Self {
        let abc = |e: [(i64, i64); 3]| Abc::new(power(e[0].0, e[0].1), power(e[1].0, e[1].1), power(e[2].0, e[2].1));
        Self {
            input: abc(input),
            hidden: hidden.map(abc),
            output: abc(output),
            finite: Abc::default(),
            named: BTreeMap::new(),
            constant: Constant::Law,
        }
    }

    /// The standard parametrization (SP) with the largest learning rate that is stable, `c = 1`. The default of common
    /// libraries is [`Parametrization::with_rates`] of 0, which is not stable under gradient descent.
    pub fn standard() -> Self {
        let (zero, half, one) = ((0, 1), (1, 2), (1, 1));
        let this = Self::of([zero, zero, one], Some([zero, half, one]), [zero, half, one]);
        Self { finite: Abc::new(Power::zero(), Power::zero(), power(1, 1)), ..this }
    }

    /// The NTK parametrization (NTP).
    pub fn ntk() -> Self {
        let (zero, half) = ((0, 1), (1, 2));
        let this = Self::of([zero; 3], Some([half, zero, zero]), [half, zero, zero]);
        Self { constant: Constant::Multiplier, ..this }
    }

    /// The mean-field parametrization (MFP), which exists for one hidden layer only.
    pub fn mean_field() -> Self {
        let (zero, one, minus) = ((0, 1), (1, 1), (-1, 1));
        Self::of([zero, zero, minus], None, [one, zero, minus])
    }

    /// The maximal update parametrization (muP) for gradient descent, with one learning rate for all.
    pub fn maximal_update() -> Self {
        let (zero, half) = ((0, 1), (1, 2));
        Self::of([(-1, 2), half, zero], Some([zero, half, zero]), [half, half, zero])
    }

    /// The maximal update parametrization for Adam.
    ///
    /// A step of Adam changes an entry of `w` by `eta n^-c` whatever the size of the gradient, so the update of a
    /// hidden matrix, which is correlated with its input, changes `h` by `n^(1-a-c)`, that of an input-like tensor by
    /// `n^(-a-c)`, and that of the readout changes the output by `n^(1-a-c)`; all of them are 1. Of all `a` that would
    /// do, these are the ones for which the gradients in `w` are of order one, so that a constant `epsilon` has the same
    /// effect at every width.
    pub fn maximal_update_adam() -> Self {
        let (zero, one, minus) = ((0, 1), (1, 1), (-1, 1));
        Self::of([minus, one, one], Some([minus, (3, 2), (2, 1)]), [zero, one, one])
    }

    /// A parametrization by its usual name: `sp`, `ntp`, `mfp`, `mup` or `mup-adam`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "sp" | "standard" => Self::standard(),
            "ntp" | "ntk" => Self::ntk(),
            "mfp" | "mean-field" => Self::mean_field(),
            "mup" | "maximal-update" => Self::maximal_update(),
            "mup-adam" => Self::maximal_update_adam(),
            _ => return None,
        })
    }

    /// The same with other exponents for one parameter.
    #[must_use]
    pub fn with(mut self, name: &str, abc: Abc) -> Self {
        self.named.insert(name.to_owned(), abc);
        self
    }

    /// The same with the learning-rate exponent `c` for all parameters.
    #[must_use]
    pub fn with_rates(mut self, c: Power) -> Self {
        let all = [&mut self.input, &mut self.output, &mut self.finite].into_iter();
        all.chain(&mut self.hidden).chain(self.named.values_mut()).for_each(|abc| abc.c = c);
        self
    }
}

/// The network with the exponents of a parametrization. Constants, the program and which parameters are trained stay.
///
/// # Errors
/// If the parametrization has no meaning for a parameter: hidden matrices under MFP, or a matrix that is used both as an
/// input layer and as a readout, for which the exponents must be given by name.
pub fn parametrize(network: &Network, parametrization: &Parametrization) -> Result<Network, TransformError> {
    let mut result = network.clone();
    let names = |value: ValueId| network.program.value(value).name.as_str();
    for name in parametrization.named.keys() {
        if network.parameters.iter().all(|p| names(p.value) != name) {
            let reason = "the network has no parameter of this name".to_owned();
            return Err(TransformError::NoExponents { name: name.clone(), reason });
        }
    }
    for parameter in &mut result.parameters {
        let abc = match parametrization.named.get(names(parameter.value)) {
            Some(abc) => *abc,
            None => by_role(network, parameter.value, parametrization)?,
        };
        set(&mut result.program, parameter, abc, parametrization.constant);
    }
    Ok(result)
}

fn by_role(network: &Network, value: ValueId, parametrization: &Parametrization) -> Result<Abc, TransformError> {
    let program = &network.program;
    let fail = |reason: &str| {
        let (name, reason) = (program.value(value).name.clone(), reason.to_owned());
        Err(TransformError::NoExponents { name, reason })
    };
    let used = |wanted: bool| {
        let uses = |instr: &Instr| matches!(instr, Instr::MatMul { matrix, transposed, .. } if matrix.value == value && *transposed == wanted);
        program.values.iter().any(|v| uses(&v.instr))
    };
    let one_width = matches!(
        program.value(value).ty.kind,
        Kind::Matrix { rows: Dim::Width(_), cols: Dim::Finite(_) }
            | Kind::Matrix { rows: Dim::Finite(_), cols: Dim::Width(_) }
    );
    if one_width && used(true) && used(false) {
        return fail("it is both an input layer and a readout; give its exponents by name");
    }
    match network.role(value) {
        Role::InputLike => Ok(parametrization.input),
        Role::OutputLike => Ok(parametrization.output),
        Role::Finite => Ok(parametrization.finite),
        Role::Hidden => match parametrization.hidden {
            Some(abc) => Ok(abc),
            None => fail("the mean-field parametrization exists for one hidden layer only; use muP, its extension"),
        },
    }
}

/// Gives a parameter its exponents, and its tensor the law that goes with them.
fn set(program: &mut Program, parameter: &mut Parameter, abc: Abc, constant: Constant) {
    let before = parameter.a + parameter.b;
    let after = abc.a + abc.b;
    let value = parameter.value;
    let coefficient = match &mut program.values[value.index()].instr {
        Instr::Matrix { variance } => {
            *variance = Scale::new(variance.coefficient.clone(), after * -2);
            Some(variance.coefficient.clone())
        }
        Instr::Gaussian(law) => {
            let mut law = law.clone();
            let constant = constant_of(program, law.covariance);
            scale_law(program, &mut law, before - after);
            rescale_cross(program, value, &mut law, before - after);
            program.values[value.index()].instr = Instr::Gaussian(law);
            constant
        }
        _ => None,
    };
    parameter.multiplier_squared = match (constant, coefficient) {
        (Constant::Multiplier, Some(coefficient)) => coefficient,
        (Constant::Multiplier, None) => parameter.multiplier_squared.clone(),
        (Constant::Law, _) => Number::one(),
    };
    (parameter.a, parameter.b, parameter.c) = (abc.a, abc.b, abc.c);
}

/// Multiplies the initial vector by `n^power`: its mean, and its covariance twice.
fn scale_law(program: &mut Program, law: &mut Law, power: Power) {
    if power.is_zero() {
        return;
    }
    law.mean = times_width(program, law.mean, power);
    law.covariance = times_width(program, law.covariance, power * 2);
}

/// The covariances of an initial vector with others, of which it is one side.
fn rescale_cross(program: &mut Program, value: ValueId, law: &mut Law, power: Power) {
    if power.is_zero() {
        return;
    }
    for (_, covariance) in &mut law.cross {
        *covariance = times_width(program, *covariance, power);
    }
    for later in program.value_ids().skip(value.index() + 1) {
        let Instr::Gaussian(mut other) = program.value(later).instr.clone() else { continue };
        let mut changed = false;
        for (with, covariance) in &mut other.cross {
            if *with == value {
                *covariance = times_width(program, *covariance, power);
                changed = true;
            }
        }
        if changed {
            program.values[later.index()].instr = Instr::Gaussian(other);
        }
    }
}

/// Multiplies the deviation of an initial vector from its mean by a number.
pub(super) fn scale_deviation(program: &mut Program, value: ValueId, factor: &Number) {
    let times = |program: &mut Program, expr: ExprId, factor: Number| {
        let factor = program.exprs.constant(factor);
        program.exprs.mul(factor, expr)
    };
    for at in program.value_ids().skip(value.index()) {
        let Instr::Gaussian(mut law) = program.value(at).instr.clone() else { continue };
        if at == value {
            law.covariance = times(program, law.covariance, factor * factor);
        }
        for (with, covariance) in &mut law.cross {
            if at == value || *with == value {
                *covariance = times(program, *covariance, factor.clone());
            }
        }
        program.values[at.index()].instr = Instr::Gaussian(law);
    }
}

fn times_width(program: &mut Program, expr: ExprId, power: Power) -> ExprId {
    let width = program.exprs.width(power);
    program.exprs.mul(expr, width)
}

/// The number that a covariance is, apart from powers of the width, where it is one: `c`, or `[i = i'] c`.
pub(super) fn constant_of(program: &Program, covariance: ExprId) -> Option<Number> {
    match program.exprs.node(covariance) {
        Expr::Const(number) => Some(number.clone()),
        Expr::Width(_) => Some(Number::one()),
        Expr::Mul(a, b) => Some(constant_of(program, *a)? * constant_of(program, *b)?),
        Expr::Sum(sum) if sum.axes.is_empty() => constant_of(program, sum.body),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::{parse_network, print_network};

    const SMALL: &str = "network small {
  data xi : 3
  param U : n x 3 ~ N(0, 1/3)
  param b : n ~ N(0, 1/4)
  param v : n x 2 ~ N(0, 2/n) frozen
  g = U * xi
  x = tanh(g + b)
  output f = v' * x
}";

    fn check(parametrization: &Parametrization) -> String {
        let network = parametrize(&parse_network(SMALL).unwrap(), parametrization).unwrap();
        let text = print_network(&network);
        assert_eq!(print_network(&parse_network(&text).unwrap()), text);
        text.lines().filter(|l| l.trim_start().starts_with("param")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn exponents_by_role() {
        insta::assert_snapshot!(check(&Parametrization::ntk()), @r"
          param U : n x 3 ~ N(0, 1/3)
          param b : n ~ N(0, 0.25)
          param v : n x 2 ~ N(0, 2/n) frozen
        ");
        insta::assert_snapshot!(check(&Parametrization::mean_field()), @r"
          param U : n x 3 ~ N(0, 1/3) with c = -1, multiplier^2 = 1
          param b : n ~ N(0, 0.25) with c = -1, multiplier^2 = 1
          param v : n x 2 ~ N(0, 2 * n^-2) frozen with c = -1, multiplier^2 = 1
        ");
        insta::assert_snapshot!(check(&Parametrization::maximal_update_adam()), @r"
          param U : n x 3 ~ N(0, 1/3) with a = -1, b = 1, c = 1, multiplier^2 = 1
          param b : n ~ N(0, 0.25) with a = -1, b = 1, c = 1, multiplier^2 = 1
          param v : n x 2 ~ N(0, 2 * n^-2) frozen with a = 0, b = 1, c = 1, multiplier^2 = 1
        ");
        let free = Parametrization::standard().with("b", Abc::new(power(1, 2), power(1, 2), power(-1, 1)));
        insta::assert_snapshot!(check(&free), @r"
          param U : n x 3 ~ N(0, 1/3) with c = 1, multiplier^2 = 1
          param b : n ~ N(0, 0.25 * n^-2) with a = 0.5, b = 0.5, c = -1
          param v : n x 2 ~ N(0, 2/n) frozen with a = 0, b = 0.5, c = 1, multiplier^2 = 1
        ");
    }

    /// There and back: the powers of the NTK parametrization do not depend on where one comes from.
    #[test]
    fn parametrizations_compose() {
        let network = parse_network(SMALL).unwrap();
        let free = Parametrization::standard().with("b", Abc::new(power(1, 2), power(1, 2), power(-1, 1)));
        let there = parametrize(&network, &free).unwrap();
        let back = parametrize(&there, &Parametrization::ntk()).unwrap();
        assert_eq!(print_network(&back), print_network(&network));
    }

    #[test]
    fn what_has_no_exponents_is_refused() {
        let deep = "network deep {
  data xi : 3
  param U : n x 3 ~ N(0, 1/3)
  param W : n x n ~ N(0, 1/n)
  g = U * xi
  h = W * g
  output f = U' * h
}";
        let deep = parse_network(deep).unwrap();
        let error = parametrize(&deep, &Parametrization::maximal_update()).unwrap_err();
        assert!(error.to_string().contains("`U`") && error.to_string().contains("both"), "{error}");
        let named = Parametrization::mean_field().with("U", Abc::default());
        let error = parametrize(&deep, &named).unwrap_err();
        assert!(error.to_string().contains("`W`") && error.to_string().contains("one hidden layer"), "{error}");
        let unknown = Parametrization::ntk().with("nothing", Abc::default());
        assert!(matches!(parametrize(&deep, &unknown), Err(TransformError::NoExponents { .. })));
    }
}
