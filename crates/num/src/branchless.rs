//! Functions in single precision without branches, so that a loop over them becomes vector instructions.
//!
//! They are sums, products and quotients in a fixed order, which have the same bits everywhere, one at a time or many.

/// `1.5 * 2^23`: what is added to it is rounded to an integer, which then stands in the last bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts (Cody and Waite): products of the first with integers below 2^9 are exact.
const LN_2: [f32; 2] = [355.0 / 512.0, -2.121_944_4e-4];
/// Beyond it `tanh` is 1 to the last bit: `2 exp(-2x) < 2^-25`.
const LARGE: f32 = 9.1;

/// The hyperbolic tangent, to three units in the last place.
///
/// `tanh(x) = e / (e + 2)` with `e = exp(2x) - 1`, for `x >= 0`. With `2x = k ln 2 + r`, `|r| <= ln(2) / 2`, and the
/// Taylor polynomial `q = exp(r) - 1` to order 7 (the next term is below `6e-9` of it), `e = 2^k q + (2^k - 1)` cancels
/// at most one bit.
#[inline]
pub(crate) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let size = if LARGE < size { LARGE } else { size };
    let twice = 2.0 * size;
    let shifted = twice * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (twice - k * LN_2[0]) - k * LN_2[1];
    let mut q = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        q = q * r + c;
    }
    let q = (q * r) * r + r;
    // The exponent of 2^k: the last bits of `shifted` are those of k.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let e = power * q + (power - 1.0);
    (e / (e + 2.0)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::tanh;

    /// Against double precision at every 997th number, of both signs.
    #[test]
    fn tanh_is_right_to_three_units() {
        let mut worst = 0.0f64;
        for bits in (0..f32::INFINITY.to_bits()).step_by(997) {
            let x = f32::from_bits(bits);
            let (found, exact) = (tanh(x), libm::tanh(f64::from(x)));
            assert_eq!(tanh(-x).to_bits(), (-found).to_bits(), "it is odd");
            assert!(found <= 1.0);
            let unit = (f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32)).max(1e-45);
            worst = worst.max((f64::from(found) - exact).abs() / unit);
        }
        assert!(worst < 3.0, "{worst} units");
    }

    #[test]
    fn edges() {
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY), tanh(10.0)), (1.0, -1.0, 1.0));
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!(tanh(1e-30), 1e-30);
    }
}
