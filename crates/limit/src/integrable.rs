//! Whether a function of Gaussian variables has all moments, read off its structure.
//!
//! A zero by symmetry or by independence presumes that the expectation exists: `E 1/Z` is not 0. For most functions
//! existence is evident, since sums and products of functions that are bounded by `exp(C (1 + |Z|))` are bounded so, too,
//! and all of these have all moments. What is not evident is not wrong: `1/|Z|^(1/2)` has an expectation, and it takes
//! numbers to see it ([`crate::premise`]).

use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::func::Func;
use num_traits::{Signed, ToPrimitive, Zero};
use rustc_hash::FxHashMap;

use crate::graph::Graph;

/// How fast one side of a function can grow, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Growth {
    /// The function is never on this side of 0.
    Never,
    /// It is bounded there.
    Bounded,
    /// Below `C (1 + |Z|)`.
    Linear,
    /// Below `exp(C (1 + |Z|))`: all moments exist.
    Moments,
    /// Nothing is known.
    Unknown,
}

use Growth::{Bounded, Linear, Moments, Never, Unknown};

impl Growth {
    fn times(self, other: Self) -> Self {
        match (self, other) {
            (Never, _) | (_, Never) => Never,
            (Bounded, x) | (x, Bounded) => x,
            (Unknown, _) | (_, Unknown) => Unknown,
            _ => Moments,
        }
    }

    fn exp(self) -> Self {
        match self {
            Never | Bounded => Bounded,
            Linear => Moments,
            Moments | Unknown => Unknown,
        }
    }
}

/// What is known of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    /// The growth of `max(f, 0)`.
    above: Growth,
    /// The growth of `max(-f, 0)`.
    below: Growth,
    /// The growth of `1/f` for a positive function; `Unknown` if it may be 0 or negative.
    inverse: Growth,
}

impl Bounds {
    fn sides(above: Growth, below: Growth) -> Self {
        Self { above, below, inverse: Unknown }
    }

    fn number(value: f64) -> Self {
        let side = |there| if there { Bounded } else { Never };
        let inverse = if 0.0 < value { Bounded } else { Unknown };
        Self { above: side(0.0 < value), below: side(value < 0.0), inverse }
    }

    fn size(&self) -> Growth {
        self.above.max(self.below)
    }

    fn is_nonnegative(&self) -> bool {
        self.below == Never
    }

    fn neg(self) -> Self {
        Self::sides(self.below, self.above)
    }

    fn abs(self) -> Self {
        Self { above: self.size(), below: Never, inverse: self.inverse }
    }

    fn add(self, other: Self) -> Self {
        let inverse = match (other.is_nonnegative(), self.is_nonnegative()) {
            (true, true) => self.inverse.min(other.inverse),
            (true, false) => self.inverse,
            (false, true) => other.inverse,
            (false, false) => Unknown,
        };
        Self { above: self.above.max(other.above), below: self.below.max(other.below), inverse }
    }

    fn times(self, other: Self) -> Self {
        let (a, b) = (self, other);
        let inverse = if a.inverse == Unknown || b.inverse == Unknown { Unknown } else { a.inverse.times(b.inverse) };
        Self {
            above: a.above.times(b.above).max(a.below.times(b.below)),
            below: a.above.times(b.below).max(a.below.times(b.above)),
            inverse,
        }
    }

    fn inverse(self) -> Self {
        if self.inverse != Unknown {
            return Self { above: self.inverse, below: Never, inverse: self.above };
        }
        let side = |side| if side == Never { Never } else { Unknown };
        Self::sides(side(self.above), side(self.below))
    }

    /// The power `p`, of a base that is not negative unless `p` is an integer.
    fn power(self, p: f64) -> Self {
        if p < 0.0 {
            return self.power(-p).inverse();
        }
        let grown = |side: Growth| match side {
            Linear if 1.0 < p => Moments,
            side => side,
        };
        let (above, below, inverse) = (grown(self.above), grown(self.below), grown(self.inverse));
        match p.fract() == 0.0 && p.rem_euclid(2.0) == 1.0 {
            true => Self { above, below, inverse },
            false => Self { above: above.max(if p.fract() == 0.0 { below } else { Never }), below: Never, inverse },
        }
    }

    fn apply(func: Func, x: Self, y: Self) -> Self {
        let bounded = |side: Growth| side.min(Bounded);
        match func {
            Func::Tanh | Func::Erf | Func::Sign => Self::sides(bounded(x.above), bounded(x.below)),
            Func::Sin | Func::Cos => Self::sides(Bounded, Bounded),
            Func::Step => Self::sides(bounded(x.above), Never),
            // 1 / sigmoid(x) = 1 + exp(-x)
            Func::Sigmoid => Self { above: Bounded, below: Never, inverse: x.below.exp() },
            // 1 / softplus(x) < 2 + 2 exp(-x)
            Func::Softplus => Self { above: x.above.max(Bounded), below: Never, inverse: x.below.exp() },
            Func::Relu => Self { above: x.above, below: Never, inverse: x.inverse },
            Func::LeakyRelu => {
                Self::sides(x.size().times(y.size().max(Bounded)), x.size().times(y.size().max(Bounded)))
            }
            Func::Abs => x.abs(),
            Func::Gelu | Func::Silu | Func::Elu => Self { above: x.above, below: bounded(x.below), inverse: Unknown },
            Func::Exp => Self { above: x.above.exp(), below: Never, inverse: x.below.exp() },
            Func::Log => {
                let log = |growth: Growth| match growth {
                    Never | Bounded => Bounded,
                    Linear | Moments => Linear,
                    Unknown => Unknown,
                };
                Self::sides(log(x.above), log(x.inverse))
            }
            Func::Sqrt => x.power(0.5),
            Func::Max => {
                Self { above: x.above.max(y.above), below: x.below.min(y.below), inverse: x.inverse.min(y.inverse) }
            }
            Func::Min => {
                Self { above: x.above.min(y.above), below: x.below.max(y.below), inverse: x.inverse.max(y.inverse) }
            }
            // It stands for a density.
            Func::Delta => Self::sides(Bounded, Never),
        }
    }
}

/// Reads functions of slots and base variables.
pub(crate) struct Reader<'a> {
    graph: &'a Graph,
    /// The value of a symbol that is not random, where it is known.
    number: &'a dyn Fn(Symbol) -> Option<f64>,
    known: FxHashMap<ExprId, Bounds>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(graph: &'a Graph, number: &'a dyn Fn(Symbol) -> Option<f64>) -> Self {
        Self { graph, number, known: FxHashMap::default() }
    }

    /// Whether all moments of the function evidently exist.
    pub(crate) fn has_moments(&mut self, function: ExprId) -> bool {
        self.bounds(function).size() < Unknown
    }

    /// Whether the function is evidently never negative.
    pub(crate) fn is_nonnegative(&mut self, function: ExprId) -> bool {
        self.bounds(function).is_nonnegative()
    }

    fn bounds(&mut self, root: ExprId) -> Bounds {
        // Arguments have smaller ids.
        for id in self.graph.pool.reachable(root) {
            if !self.known.contains_key(&id) {
                let bounds = self.node(id);
                self.known.insert(id, bounds);
            }
        }
        self.known[&root]
    }

    fn node(&self, id: ExprId) -> Bounds {
        let of = |id: &ExprId| self.known[id];
        match self.graph.pool.node(id) {
            Expr::Const(value) if value.is_zero() => Bounds::sides(Never, Never),
            Expr::Const(value) => Bounds::number(if value.is_positive() { 1.0 } else { -1.0 }),
            Expr::Pi | Expr::Width(_) => Bounds::number(1.0),
            Expr::Ref(symbol, _) if self.graph.is_random(*symbol) => Bounds::sides(Linear, Linear),
            Expr::Ref(symbol, _) => match (self.number)(*symbol) {
                Some(value) => Bounds::number(value),
                None => Bounds::sides(Bounded, Bounded),
            },
            Expr::Table(..) => Bounds::sides(Bounded, Bounded),
            Expr::Neg(a) => of(a).neg(),
            Expr::Add(a, b) => of(a).add(of(b)),
            Expr::Sub(a, b) => of(a).add(of(b).neg()),
            Expr::Mul(a, b) if a == b => of(a).power(2.0),
            Expr::Mul(a, b) => of(a).times(of(b)),
            Expr::Div(a, b) => of(a).times(self.inverse(*b)),
            Expr::Pow(a, p) if p.is_negative() => self.inverse(*a).power(-p.to_f64().unwrap_or(f64::NAN)),
            Expr::Pow(a, p) => of(a).power(p.to_f64().unwrap_or(f64::NAN)),
            Expr::Apply(func, args) => {
                let x = of(&args[0]);
                Bounds::apply(*func, x, args.get(1).map_or(x, of))
            }
            // A guard may leave nothing.
            Expr::Sum(sum) => Bounds { inverse: Unknown, ..of(&sum.body) },
        }
    }

    /// Of a number: that it is not 0 is a question of its own.
    fn inverse(&self, of: ExprId) -> Bounds {
        let bounds = self.known[&of];
        if bounds.inverse == Unknown && bounds.size() <= Bounded && !self.mentions_randomness(of) {
            let side = |side: Growth| if side == Never { Never } else { Bounded };
            return Bounds::sides(side(bounds.above), side(bounds.below));
        }
        bounds.inverse()
    }

    fn mentions_randomness(&self, id: ExprId) -> bool {
        self.graph.pool.refs(id).iter().any(|r| self.graph.is_random(r.0))
    }
}

#[cfg(test)]
mod tests {
    use netsor_ir::Instr;
    use netsor_ir::syntax::parse_program;

    use super::*;

    /// Of the moments of a program, by name: whether the reader finds its function integrable.
    fn evident(moments: &str) -> Vec<bool> {
        let lines: Vec<String> = moments.lines().enumerate().map(|(k, m)| format!("moment m{k} = mean({m})")).collect();
        let text =
            format!("program p {{ vector a ~ N(0, 1)\nvector b ~ N(0, 1)\nmoment t = mean(a)\n{} }}", lines.join("\n"));
        let program = parse_program(&text).unwrap();
        let graph = Graph::new(&program);
        let mut reader = Reader::new(&graph, &|_| None);
        let functions = program.value_ids().filter_map(|id| match program.value(id).instr {
            Instr::Moment(expr) => Some(expr),
            _ => None,
        });
        functions.skip(1).map(|f| reader.has_moments(f)).collect()
    }

    #[test]
    fn functions_of_networks_have_all_moments() {
        let functions = "tanh(a) * relu(b)^3 - gelu(a + b) * a\n\
            exp(3 * a - b) * sin(a * b)\n\
            exp(-a^2 + b)\n\
            a / (1 + b^2)\n\
            a / (exp(a) + exp(b))\n\
            1 / sigmoid(a + b)\n\
            log(1 + exp(a) + b^2)\n\
            log(sigmoid(a))\n\
            abs(a)^(1/2) * (1/100 + abs(b))^(-3)\n\
            max(a, 1)^(-1) * b\n\
            exp(sin(a)) / (2 + cos(b) + abs(a))^(1/2) * a / t\n\
            softplus(a)^(-2)\n\
            a / (a^2 + b^2 + 1/100000)^(1/2)";
        let found = evident(functions);
        // 2 + cos(b) is not negative, which the reader, which keeps no bounds, does not see.
        let expected: Vec<bool> = functions.lines().map(|line| !line.contains("cos(b)")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_may_have_no_expectation_is_not_evident() {
        let functions = "1 / a\nb / a\nexp(a^2)\nexp(a * b)\nlog(abs(a))\nabs(a)^(-1/2)\nb * exp(exp(a))\n\
            1 / (1 - tanh(a))\n1 / relu(a)\na / (a^2 + b^2)^(1/2)\n1 / max(a, b)\n1 / min(a, 1)\n1 / (a^2 + t)\n\
            exp(abs(a)^(3/2))\n1 / exp(a^2)^(-1)";
        assert_eq!(evident(functions), vec![false; functions.lines().count()]);
    }
}
