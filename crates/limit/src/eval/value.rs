//! Arithmetic on numbers with errors, to first order.

use netsor_ir::expr::Expr;
use netsor_ir::number::{power_to_f64, print, to_f64};
use netsor_num::sum::Compensated;

use crate::error::LimitError;

/// A number with the error it is known to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// The number.
    pub value: f64,
    /// Absolute error, to first order.
    pub error: f64,
}

impl Value {
    pub(super) fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    /// The product.
    pub(super) fn times(self, other: Self) -> Result<Self, LimitError> {
        let value = self.value * other.value;
        if !value.is_finite() {
            return Err(LimitError::Domain { what: format!("{} * {}", self.value, other.value), value });
        }
        Ok(Self { value, error: self.value.abs() * other.error + other.value.abs() * self.error })
    }
}

/// A sum of numbers with errors; rounding does not grow with the number of terms.
#[derive(Default)]
pub(super) struct Total {
    value: Compensated,
    error: f64,
}

impl Total {
    pub(super) fn add(&mut self, term: Value) {
        self.value.add(term.value);
        self.error += term.error;
    }

    pub(super) fn value(&self) -> Result<Value, LimitError> {
        let value = self.value.value();
        if !value.is_finite() {
            return Err(LimitError::Domain { what: "a sum over an axis".to_owned(), value });
        }
        Ok(Value { value, error: self.error })
    }
}

/// A remainder of a variance that is no larger, relative to the variance, is rounding: what is dropped with it is below
/// its square root, 3e-8, as is what rounding leaves of the numerator divided by it.
pub const ROUNDING: f64 = 1e-15;

/// [`Body::Quotient`].
pub(super) fn quotient(
    numerator: Value,
    denominator: Value,
    size: Value,
    power: f64,
    strict: bool,
) -> Result<Value, LimitError> {
    let part = size.value != 0.0 && !strict;
    if denominator.value <= ROUNDING * size.value + denominator.error && (part || numerator.value == 0.0) {
        return Ok(Value { value: 0.0, error: numerator.error });
    }
    let scale = real_power(denominator.value, -power);
    let value = numerator.value * scale;
    if !value.is_finite() {
        let what = format!("{} * {}^(-{power})", numerator.value, denominator.value);
        return Err(LimitError::Domain { what, value });
    }
    let relative = power * denominator.error / denominator.value;
    Ok(Value { value, error: numerator.error * scale + value.abs() * relative })
}

/// `x^p`; square roots of variances are everywhere: they are taken exactly rounded.
fn real_power(x: f64, p: f64) -> f64 {
    if p == 0.5 {
        x.sqrt()
    } else if p == -0.5 {
        1.0 / x.sqrt()
    } else if p.fract() == 0.0 && p.abs() <= 64.0 {
        x.powi(p as i32)
    } else {
        netsor_num::Real::powf(x, p)
    }
}

/// A node that is neither a leaf with indices nor a sum, from its children.
pub(super) fn arithmetic(node: &Expr, of: &[Value]) -> Result<Value, LimitError> {
    let value = match node {
        Expr::Const(value) => Value::exact(to_f64(value)),
        Expr::Pi => Value::exact(std::f64::consts::PI),
        Expr::Neg(_) => Value { value: -of[0].value, ..of[0] },
        Expr::Add(..) => Value { value: of[0].value + of[1].value, error: of[0].error + of[1].error },
        Expr::Sub(..) => Value { value: of[0].value - of[1].value, error: of[0].error + of[1].error },
        Expr::Mul(..) => of[0].times(of[1])?,
        Expr::Div(..) => {
            let (a, b) = (of[0], of[1]);
            let value = a.value / b.value;
            Value { value, error: (a.error + value.abs() * b.error) / b.value.abs() }
        }
        Expr::Pow(_, p) => {
            let a = of[0];
            let p = power_to_f64(*p);
            Value {
                value: real_power(a.value, p),
                error: if a.error == 0.0 { 0.0 } else { (p * real_power(a.value, p - 1.0)).abs() * a.error },
            }
        }
        Expr::Apply(func, _) => {
            let first = of[0];
            let value = match of.len() {
                1 => netsor_num::functions::unary::<f64>(func.name()).map(|f| f(first.value)),
                _ => netsor_num::functions::binary::<f64>(func.name()).map(|f| f(first.value, of[1].value)),
            };
            let Some(value) = value else {
                return Err(LimitError::Tape(format!("no numerical function `{}`", func.name())));
            };
            Value { value, error: of.iter().map(|a| a.error).sum() }
        }
        Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) | Expr::Sum(_) => {
            return Err(LimitError::Tape("a power of the width or a mention is left in a limit".to_owned()));
        }
    };
    if value.value.is_finite() {
        return Ok(value);
    }
    let what = match node {
        Expr::Div(..) => format!("{} / {}", of[0].value, of[1].value),
        Expr::Pow(_, p) => format!("{} ^ ({p})", of[0].value),
        Expr::Apply(func, _) => format!("{}({})", func.name(), of[0].value),
        Expr::Const(value) => print(value),
        _ => "arithmetic".to_owned(),
    };
    Err(LimitError::Domain { what, value: value.value })
}
