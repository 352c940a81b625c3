//! Functions of functions that are themselves simple: `step(relu(x))` is `step(x)`.
//!
//! This is more than tidiness. A function that is constant on an interval turns a Gaussian variable into one with an
//! atom, and at an atom the chain rule for weak derivatives does not hold: `delta(relu(x))` means nothing, while the
//! derivative of `step(relu(x))` is `delta(x)`.

use num_traits::{One, Signed, Zero};
use smallvec::SmallVec;

use crate::expr::{Expr, ExprId, Exprs};
use crate::func::Func;

impl Exprs {
    /// `func(args)` as a simpler term that is equal to it everywhere, if there is one.
    pub(crate) fn composed(&mut self, func: Func, args: &SmallVec<[ExprId; 2]>) -> Option<ExprId> {
        if let Some(value) = self.at_constant(func, args) {
            return Some(value);
        }
        match func {
            Func::Max | Func::Min if args[0] == args[1] => Some(args[0]),
            Func::Relu | Func::Abs if self.is_nonnegative(args[0]) => Some(args[0]),
            Func::Relu => match *self.node(args[0]) {
                Expr::Apply(Func::Sign, ref inner) => {
                    let inner = inner[0];
                    Some(self.apply(Func::Step, inner))
                }
                _ => None,
            },
            Func::Step | Func::Sign if self.is_positive(args[0]) => Some(self.integer(1)),
            Func::Step => self.step_of(args[0]),
            Func::Sign => self.sign_of(args[0]),
            _ => None,
        }
    }

    /// Values at zero and one that are exact.
    fn at_constant(&mut self, func: Func, args: &[ExprId]) -> Option<ExprId> {
        let x = self.as_const(args[0])?;
        match func {
            Func::Tanh
            | Func::Relu
            | Func::Abs
            | Func::Erf
            | Func::Sqrt
            | Func::Sin
            | Func::Gelu
            | Func::Silu
            | Func::Elu
            | Func::Step
            | Func::Sign
            | Func::LeakyRelu
                if x.is_zero() =>
            {
                Some(args[0])
            }
            Func::Exp | Func::Cos if x.is_zero() => Some(self.integer(1)),
            Func::Log if x.is_one() => Some(self.integer(0)),
            Func::Sqrt if x.is_one() => Some(args[0]),
            Func::Step if x.is_negative() => Some(self.integer(0)),
            Func::Sign if x.is_negative() => Some(self.integer(-1)),
            _ => None,
        }
    }

    /// `step(argument)` where the argument has the sign of something simpler.
    fn step_of(&mut self, argument: ExprId) -> Option<ExprId> {
        let Expr::Apply(func, args) = self.node(argument).clone() else { return None };
        let step = |e: &mut Self, k: usize| e.apply(Func::Step, args[k]);
        match func {
            Func::Relu | Func::Step => Some(step(self, 0)),
            Func::Max => {
                // One unless both are not positive.
                let (a, b) = (step(self, 0), step(self, 1));
                let both = self.mul(a, b);
                let either = self.add(a, b);
                Some(self.sub(either, both))
            }
            Func::Min => {
                let (a, b) = (step(self, 0), step(self, 1));
                Some(self.mul(a, b))
            }
            _ if self.keeps_the_sign(func, &args) => Some(step(self, 0)),
            _ => None,
        }
    }

    /// `sign(argument)` where the argument has the sign of something simpler.
    fn sign_of(&mut self, argument: ExprId) -> Option<ExprId> {
        let Expr::Apply(func, args) = self.node(argument).clone() else { return None };
        match func {
            Func::Relu | Func::Step => Some(self.apply(Func::Step, args[0])),
            _ if self.keeps_the_sign(func, &args) => Some(self.apply(Func::Sign, args[0])),
            _ => None,
        }
    }

    /// Whether `func(x, ...)` is positive, zero and negative where `x` is.
    fn keeps_the_sign(&self, func: Func, args: &[ExprId]) -> bool {
        match func {
            Func::Tanh | Func::Erf | Func::Gelu | Func::Silu | Func::Elu | Func::Sign => true,
            Func::LeakyRelu => self.as_const(args[1]).is_some_and(Signed::is_positive),
            _ => false,
        }
    }

    fn is_positive(&self, id: ExprId) -> bool {
        match self.node(id) {
            Expr::Const(value) => value.is_positive(),
            Expr::Pi | Expr::Width(_) | Expr::Apply(Func::Exp | Func::Sigmoid | Func::Softplus, _) => true,
            _ => false,
        }
    }

    fn is_nonnegative(&self, id: ExprId) -> bool {
        match self.node(id) {
            Expr::Apply(Func::Relu | Func::Abs | Func::Step | Func::Sqrt, _) => true,
            Expr::Pow(_, p) => p.is_integer() && p.numer() % 2 == 0,
            Expr::Const(value) => !value.is_negative(),
            _ => self.is_positive(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Symbol;

    /// Every rule, as a function of two numbers on both sides of every place where a piece ends.
    #[test]
    fn composed_terms_are_equal_everywhere() {
        fn value(e: &Exprs, id: ExprId, at: [f64; 2]) -> f64 {
            let of = |id: &ExprId| value(e, *id, at);
            match e.node(id) {
                Expr::Const(value) => crate::number::to_f64(value),
                Expr::Ref(symbol, _) => at[symbol.0 as usize],
                Expr::Add(a, b) => of(a) + of(b),
                Expr::Sub(a, b) => of(a) - of(b),
                Expr::Mul(a, b) => of(a) * of(b),
                Expr::Apply(func, args) => {
                    let x = of(&args[0]);
                    // Of these functions only the sign enters a rule: any with the same sign serves.
                    let cdf = |x: f64| 1.0 / (1.0 + (-1.702 * x).exp());
                    match func {
                        Func::Relu => x.max(0.0),
                        Func::Abs => x.abs(),
                        Func::Step => f64::from(u8::from(0.0 < x)),
                        Func::Sign if x == 0.0 => 0.0,
                        Func::Sign => x.signum(),
                        Func::LeakyRelu => {
                            if x < 0.0 {
                                of(&args[1]) * x
                            } else {
                                x
                            }
                        }
                        Func::Max => x.max(of(&args[1])),
                        Func::Min => x.min(of(&args[1])),
                        Func::Tanh => x.tanh(),
                        Func::Erf => x.tanh(),
                        Func::Gelu => x * cdf(x),
                        Func::Silu => x / (1.0 + (-x).exp()),
                        Func::Elu => {
                            if x < 0.0 {
                                x.exp_m1()
                            } else {
                                x
                            }
                        }
                        Func::Exp => x.exp(),
                        Func::Sigmoid => 1.0 / (1.0 + (-x).exp()),
                        Func::Softplus => x.exp().ln_1p(),
                        _ => unreachable!("not in this test"),
                    }
                }
                _ => unreachable!("not in this test"),
            }
        }
        let outer = [Func::Relu, Func::Abs, Func::Step, Func::Sign];
        let inner = [
            Func::Relu,
            Func::Abs,
            Func::Step,
            Func::Sign,
            Func::LeakyRelu,
            Func::Max,
            Func::Min,
            Func::Tanh,
            Func::Erf,
            Func::Gelu,
            Func::Silu,
            Func::Elu,
            Func::Exp,
            Func::Sigmoid,
            Func::Softplus,
        ];
        let points = [-1.5, -0.3, 0.0, 0.4, 2.0];
        for f in outer {
            for g in inner {
                let mut e = Exprs::new();
                let (x, y) = (e.reference(Symbol(0), []), e.reference(Symbol(1), []));
                let slope = e.constant(crate::number::fraction(1, 5));
                let args: SmallVec<[ExprId; 2]> = match g {
                    Func::Max | Func::Min => [x, y].into_iter().collect(),
                    Func::LeakyRelu => [x, slope].into_iter().collect(),
                    _ => [x].into_iter().collect(),
                };
                let within = e.intern(Expr::Apply(g, args));
                let plain = e.intern(Expr::Apply(f, [within].into_iter().collect()));
                let composed = e.apply(f, within);
                for a in points {
                    for b in points {
                        let (p, q) = (value(&e, plain, [a, b]), value(&e, composed, [a, b]));
                        assert_eq!(p, q, "{f:?}({g:?}) at {a}, {b}");
                    }
                }
            }
        }
    }

    /// What would otherwise put a delta on an atom.
    #[test]
    fn steps_do_not_act_on_atoms() {
        let mut e = Exprs::new();
        let (x, y) = (e.reference(Symbol(0), []), e.reference(Symbol(1), []));
        let (relu, step) = (e.apply(Func::Relu, x), e.apply(Func::Step, x));
        assert_eq!(e.apply(Func::Step, relu), step);
        assert_eq!(e.apply(Func::Sign, relu), step);
        assert_eq!(e.apply(Func::Relu, relu), relu);
        assert_eq!(e.apply(Func::Step, step), step);
        assert_eq!(e.apply2(Func::Max, y, y), y);
        let smaller = e.apply2(Func::Min, x, y);
        let product = {
            let other = e.apply(Func::Step, y);
            e.mul(step, other)
        };
        assert_eq!(e.apply(Func::Step, smaller), product);
    }
}
