//! The numbers that programs run on: [`Float`], which is `f32` or `f64`.

use netsor_ir::tape::{Functions, Scalar, SliceFunction};
use netsor_num::Real;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`: what tapes, the functions of `netsor-num` and the matrix products of `faer` have in common.
///
/// The trait is sealed.
pub trait Float: sealed::Sealed + Scalar + Real + faer::traits::ComplexField {
    /// Size in memory.
    const BYTES: usize;

    /// Appends the bits, little-endian.
    fn write(self, bytes: &mut Vec<u8>);

    /// The number with these bits, little-endian; NaN if there are not [`Float::BYTES`] of them.
    fn read(bytes: &[u8]) -> Self;

    /// The nearest value to `x`.
    fn of(x: f64) -> Self {
        <Self as Real>::from_f64(x)
    }

    /// The value as an `f64`, exactly.
    fn wide(self) -> f64 {
        Real::to_f64(self)
    }
}

macro_rules! float {
    ($float:ty) => {
        impl Float for $float {
            const BYTES: usize = size_of::<$float>();

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                bytes.try_into().map_or(<$float>::NAN, <$float>::from_le_bytes)
            }
        }
    };
}

float!(f32);
float!(f64);

/// The functions of `netsor-num`, for tapes.
pub(crate) struct Numeric;

impl<T: Float> Functions<T> for Numeric {
    fn unary(&self, name: &str) -> Option<fn(T) -> T> {
        netsor_num::functions::unary(name)
    }

    fn unary_slice(&self, name: &str) -> Option<SliceFunction<T>> {
        netsor_num::functions::unary_slice(name)
    }

    fn binary(&self, name: &str) -> Option<fn(T, T) -> T> {
        netsor_num::functions::binary(name)
    }

    fn power(&self) -> fn(T, T) -> T {
        Real::powf
    }
}

/// The mean of the numbers, added up by halves in double precision.
pub(crate) fn mean<T: Float>(terms: &[T]) -> f64 {
    sum(terms) / terms.len() as f64
}

fn sum<T: Float>(terms: &[T]) -> f64 {
    if terms.len() <= 32 {
        return terms.iter().map(|t| t.wide()).sum();
    }
    let (left, right) = terms.split_at(terms.len().next_power_of_two() / 2);
    sum(left) + sum(right)
}
