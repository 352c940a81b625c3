//! Numbers for people: as many digits as mean something, Unicode minus and powers of ten.

/// A number by itself, to four significant digits, without trailing zeros.
#[must_use]
pub fn number(value: f64) -> String {
    significant(value, 4)
}

/// A number known up to `error`: digits down to the second digit of the error.
#[must_use]
pub fn with_error(value: f64, error: f64) -> String {
    if !(error.is_finite() && 0.0 < error && value.is_finite()) {
        return significant(value, 6);
    }
    let last_place = error.log10().floor() as i32 - 1;
    let first_place = if value == 0.0 { last_place } else { value.abs().log10().floor() as i32 };
    if plain_range(value) && -8 < last_place {
        let decimals = usize::try_from(-last_place).unwrap_or(0);
        return minus(&format!("{value:.decimals$}"));
    }
    significant(value, usize::try_from(first_place - last_place + 1).unwrap_or(1).clamp(1, 12))
}

/// A number with as many digits as its error allows, at most twelve; all of them if there is no error.
#[must_use]
pub fn precise(value: f64, error: f64) -> String {
    if error != 0.0 || !value.is_finite() {
        return with_error(value, error);
    }
    let shortest = if plain_range(value) { value.to_string() } else { format!("{value:e}") };
    match shortest.split_once('e') {
        Some((mantissa, exponent)) => scientific(mantissa, exponent.parse().unwrap_or(0)),
        None => minus(&shortest),
    }
}

/// An error, to two significant digits.
#[must_use]
pub fn error(error: f64) -> String {
    significant(error, 2)
}

/// A number to so many significant digits, without trailing zeros.
#[must_use]
pub fn digits(value: f64, digits: usize) -> String {
    significant(value, digits.max(1))
}

/// A p-value.
#[must_use]
pub fn p_value(p: f64) -> String {
    if p < 1e-4 { "< 0.0001".to_owned() } else { format!("{p:.4}") }
}

/// A duration in the two units that matter.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    if seconds < 0.95 {
        format!("{:.0} ms", seconds.max(0.0) * 1e3)
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

/// `10^exponent` in Unicode.
#[must_use]
pub fn power_of_ten(exponent: i32) -> String {
    let text = exponent.to_string();
    let digits = text.chars().map(|c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        d => char::from_u32('⁰' as u32 + d as u32 - '0' as u32).unwrap_or(d),
    });
    format!("10{}", digits.collect::<String>())
}

fn plain_range(value: f64) -> bool {
    value == 0.0 || (1e-3..1e6).contains(&value.abs())
}

fn significant(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "not a number".to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "−∞" } else { "∞" }.to_owned();
    }
    // The exponent after rounding: 9.9996 to four digits is 10.00.
    let rounded = format!("{:.*e}", digits - 1, value);
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if plain_range(value) {
        let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
        return minus(trim(&format!("{value:.decimals$}")));
    }
    scientific(trim(mantissa), exponent)
}

fn scientific(mantissa: &str, exponent: i32) -> String {
    match mantissa {
        "1" => power_of_ten(exponent),
        "-1" => format!("−{}", power_of_ten(exponent)),
        mantissa => format!("{}×{}", minus(mantissa), power_of_ten(exponent)),
    }
}

fn trim(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

fn minus(text: &str) -> String {
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    text.replace('-', if is_zero { "" } else { "−" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let cases = [
            (0.0, "0"),
            (-0.5, "−0.5"),
            (1024.0, "1024"),
            (123_456.0, "123456"),
            (1.0 / 3.0, "0.3333"),
            (9.99996, "10"),
            (1e-7, "10⁻⁷"),
            (-2.5e-12, "−2.5×10⁻¹²"),
            (6.02e23, "6.02×10²³"),
            (f64::INFINITY, "∞"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    #[test]
    fn errors_set_the_digits() {
        assert_eq!(with_error(-0.512_34, 0.013), "−0.512");
        assert_eq!(with_error(123.4, 20.0), "123");
        assert_eq!(with_error(1.234_567e-9, 1e-11), "1.235×10⁻⁹");
        assert_eq!(with_error(-0.000_01, 0.1), "−10⁻⁵");
        assert_eq!(with_error(2.0, 0.0), "2");
    }

    #[test]
    fn exact_numbers_have_all_their_digits_and_no_row_of_zeros() {
        assert_eq!(precise(0.1, 0.0), "0.1");
        assert_eq!(precise(-1.0 / 3.0, 0.0), "−0.3333333333333333");
        assert_eq!(precise(1.929_4e-11, 0.0), "1.9294×10⁻¹¹");
        assert_eq!(precise(1e22, 0.0), "10²²");
        assert_eq!(precise(0.0, 0.0), "0");
        assert_eq!(precise(0.25, 1e-4), "0.25000");
        assert_eq!(error(6.66e-14), "6.7×10⁻¹⁴");
        assert_eq!(error(0.0), "0");
        assert_eq!(digits(0.231_037_934, 8), "0.23103793");
    }

    #[test]
    fn durations() {
        assert_eq!(duration(0.0123), "12 ms");
        assert_eq!(duration(59.97), "1 min 00 s");
        assert_eq!(duration(75.0), "1 min 15 s");
        assert_eq!(duration(3725.0), "1 h 02 min");
    }
}
