//! Exact numbers: rational constants and rational powers of the width.
//!
//! The language knows no rounding. A decimal in a program is read as the fraction it is (`0.1` is 1/10), so that two
//! constants are equal exactly when they are written equal, and a structural zero is a proof rather than a threshold.

use num_bigint::BigInt;
use num_rational::{BigRational, Ratio};
use num_traits::{One, Signed, ToPrimitive, Zero};

/// An exact rational constant.
pub type Number = BigRational;

/// An exact rational exponent, of the width `n` or of an expression.
pub type Power = Ratio<i64>;

/// The integer `value` as a [`Number`].
pub fn integer(value: i64) -> Number {
    Number::from_integer(BigInt::from(value))
}

/// The fraction `numerator / denominator`.
///
/// # Panics
/// If `denominator` is zero.
pub fn fraction(numerator: i64, denominator: i64) -> Number {
    Number::new(BigInt::from(numerator), BigInt::from(denominator))
}

/// The exponent `numerator / denominator`.
///
/// # Panics
/// If `denominator` is zero.
pub fn power(numerator: i64, denominator: i64) -> Power {
    Power::new(numerator, denominator)
}

/// The shortest decimal that reads back as the finite `value`, taken as an exact fraction; `None` for NaN and infinities.
///
/// Hyper-parameters such as `0.1` arrive as floats; what the user meant is the decimal, not its binary neighbour.
pub fn from_f64(value: f64) -> Option<Number> {
    if !value.is_finite() {
        return None;
    }
    parse_decimal(&format!("{value:e}"))
}

/// Reads `12`, `0.5`, `1e-3` or `2.5E+4` exactly; `None` if the text is anything else or its exponent exceeds 400 in size.
///
/// ```
/// use netsor_ir::number::{fraction, parse_decimal};
/// assert_eq!(parse_decimal("2.5e-1"), Some(fraction(1, 4)));
/// assert_eq!(parse_decimal("1e999999999"), None);
/// ```
pub fn parse_decimal(text: &str) -> Option<Number> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, mantissa),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{decimals}");
    if digits.is_empty() || digits.len() > 400 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let scale = exponent.checked_sub(i32::try_from(decimals.len()).ok()?)?;
    if scale.unsigned_abs() > 400 {
        return None;
    }
    let digits: BigInt = digits.parse().ok()?;
    let ten = num_traits::pow(BigInt::from(10), scale.unsigned_abs() as usize);
    let value = if scale < 0 { Number::new(digits, ten) } else { Number::from_integer(digits * ten) };
    Some(value * integer(sign))
}

/// The nearest float.
pub fn to_f64(value: &Number) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

/// The exponent as a float.
pub fn power_to_f64(value: Power) -> f64 {
    *value.numer() as f64 / *value.denom() as f64
}

/// How a number is written in the language: an integer, a terminating decimal, or a fraction in lowest terms.
///
/// The text is an expression of the language; `1/3` and `-2` are operators applied to literals, so a printer adds
/// parentheses where the context needs them.
pub fn print(value: &Number) -> String {
    if value.is_integer() {
        return value.numer().to_string();
    }
    terminating_decimal(value).unwrap_or_else(|| format!("{}/{}", value.numer(), value.denom()))
}

fn terminating_decimal(value: &Number) -> Option<String> {
    let (two, five, ten) = (BigInt::from(2), BigInt::from(5), BigInt::from(10));
    let mut denominator = value.denom().clone();
    let mut places = 0usize;
    while !denominator.is_one() {
        // One decimal place removes one factor of two, one of five, or both.
        let halved = (&denominator % &two).is_zero();
        let fifthed = (&denominator % &five).is_zero();
        if !halved && !fifthed {
            return None;
        }
        if halved {
            denominator /= &two;
        }
        if fifthed {
            denominator /= &five;
        }
        places += 1;
        if places > 40 {
            return None;
        }
    }
    let scaled = value * Number::from_integer(num_traits::pow(ten, places));
    let digits = scaled.numer().abs().to_string();
    let digits = format!("{digits:0>width$}", width = places + 1);
    let (whole, decimals) = digits.split_at(digits.len() - places);
    let sign = if value.is_negative() { "-" } else { "" };
    Some(format!("{sign}{whole}.{decimals}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_print_back() {
        for text in ["0.1", "12", "3.0625", "0.000001", "-0.5"] {
            let value = parse_decimal(text).unwrap();
            assert_eq!(print(&value), text);
        }
        assert_eq!(print(&fraction(2, 6)), "1/3");
        assert_eq!(from_f64(0.1), Some(fraction(1, 10)));
        assert_eq!(from_f64(-2.5e-3), Some(fraction(-1, 400)));
        assert_eq!(from_f64(f64::NAN), None);
    }

    #[test]
    fn hostile_literals_are_refused() {
        for text in ["", ".", "1e999999999", "1e-999999999", "--1", "1.2.3", "0x10", "1e"] {
            assert_eq!(parse_decimal(text), None, "{text}");
        }
    }
}
