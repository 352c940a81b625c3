//! Symbolic derivatives of expressions, in the form that families need.
//!
//! The derivative of an expression with respect to a whole family is a list of [`Occurrence`]s: for every place where
//! the family is mentioned, the coefficient, the indices mentioned there, and the binders in between. Back-propagation,
//! tangents and the ZDot rule all read this list, and none of them needs to know whether it came from a convolution,
//! a pooling or a plain coordinatewise function.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::collections::BTreeSet;

use crate::expr::{Expr, ExprId, Exprs, Symbol, for_each_child};
use crate::func::Func;
use crate::id::Id;
use crate::index::{Guard, Index, Indices};
use crate::number::{Number, Power, fraction, integer};
use crate::program::Axis;

/// One mention of a symbol: the differential of the expression contains
/// `sum over variables [guards] coefficient * d symbol[indices]`.
#[derive(Clone, Debug)]
pub struct Occurrence {
    /// The symbol mentioned.
    pub symbol: Symbol,
    /// Its indices there.
    pub indices: Indices,
    /// Variables bound between the root and the mention, opened.
    pub variables: SmallVec<[(Index, Id<Axis>); 2]>,
    /// Guards between the root and the mention.
    pub guards: SmallVec<[Guard; 2]>,
    /// The partial derivative, an expression in the same symbols.
    pub coefficient: ExprId,
}

/// What the derivative of a function with a jump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivative {
    /// The pointwise derivative, almost everywhere: that of `step` is 0. What back-propagation computes.
    Pointwise,
    /// The weak derivative: that of `step` is Dirac's delta. What Stein's lemma needs.
    Weak,
}

impl Exprs {
    /// All occurrences of symbols for which `wanted` holds, in order of first mention inside each scope.
    ///
    /// Weakly, an argument `a` at which the expression jumps contributes `delta(a)` times the jump (module `jumps`).
    /// Dirac's delta itself has no derivative here ([`Exprs::has_delta_of`]): callers trade it for a density before they
    /// differentiate again.
    ///
    /// Cost: linear in the number of distinct nodes (one reverse sweep a scope), and as much for each place of a jump.
    pub fn occurrences(
        &mut self,
        root: ExprId,
        derivative: Derivative,
        fresh: &mut u32,
        wanted: &dyn Fn(Symbol) -> bool,
    ) -> Vec<Occurrence> {
        let one = self.integer(1);
        let mut found = self.smooth_occurrences(root, one, derivative, fresh, wanted);
        if derivative == Derivative::Weak {
            for (argument, jump) in self.jumps(root) {
                let delta = self.apply(Func::Delta, argument);
                let seed = self.mul(delta, jump);
                found.extend(self.smooth_occurrences(argument, seed, Derivative::Pointwise, fresh, wanted));
            }
        }
        found
    }

    /// Whether Dirac's delta of something that mentions a wanted symbol is in the expression, which then has no weak
    /// derivative that is an expression.
    pub fn has_delta_of(&self, root: ExprId, wanted: &dyn Fn(Symbol) -> bool) -> bool {
        let mut found = false;
        self.visit(root, &mut |node| {
            if let Expr::Apply(Func::Delta, args) = node {
                found |= self.refs(args[0]).iter().any(|&(symbol, _)| wanted(symbol));
            }
        });
        found
    }

    /// The occurrences through functions that do not jump, of `seed` times the differential of `root`.
    fn smooth_occurrences(
        &mut self,
        root: ExprId,
        seed: ExprId,
        derivative: Derivative,
        fresh: &mut u32,
        wanted: &dyn Fn(Symbol) -> bool,
    ) -> Vec<Occurrence> {
        let mut adjoint: FxHashMap<ExprId, ExprId> = FxHashMap::default();
        adjoint.insert(root, seed);
        let mut queue = BTreeSet::from([root]);
        let mut found = Vec::new();
        // Parents have larger ids than children: taking the largest first has every parent's share ready.
        while let Some(id) = queue.pop_last() {
            let seed = adjoint[&id];
            let node = self.node(id).clone();
            match &node {
                Expr::Ref(symbol, indices) => {
                    if wanted(*symbol) {
                        found.push(Occurrence {
                            symbol: *symbol,
                            indices: indices.clone(),
                            variables: SmallVec::new(),
                            guards: SmallVec::new(),
                            coefficient: seed,
                        });
                    }
                }
                Expr::Sum(sum) => {
                    let opened = self.open(sum, fresh);
                    for mut inner in self.occurrences(opened.body, derivative, fresh, wanted) {
                        inner.coefficient = self.mul(seed, inner.coefficient);
                        inner.variables.insert_many(0, opened.variables.iter().copied());
                        inner.guards.insert_many(0, opened.guards.iter().cloned());
                        found.push(inner);
                    }
                }
                _ => {
                    let mut children: SmallVec<[ExprId; 2]> = SmallVec::new();
                    for_each_child(&node, |child| children.push(child));
                    for (k, &child) in children.iter().enumerate() {
                        let partial = self.partial(id, &node, k);
                        let share = self.mul(seed, partial);
                        if self.is_zero(share) {
                            continue;
                        }
                        let total = match adjoint.get(&child) {
                            Some(&earlier) => self.add(earlier, share),
                            None => share,
                        };
                        adjoint.insert(child, total);
                        queue.insert(child);
                    }
                }
            }
        }
        found.reverse();
        found
    }

    /// The partial derivative of a node (not a leaf, not a sum) in its `k`-th child.
    fn partial(&mut self, id: ExprId, node: &Expr, k: usize) -> ExprId {
        match *node {
            Expr::Neg(_) => self.integer(-1),
            Expr::Add(..) => self.integer(1),
            Expr::Sub(..) => self.integer(if k == 0 { 1 } else { -1 }),
            Expr::Mul(a, b) => {
                if k == 0 {
                    b
                } else {
                    a
                }
            }
            Expr::Div(_, b) => {
                let one = self.integer(1);
                let inverse = self.div(one, b);
                if k == 0 {
                    inverse
                } else {
                    let product = self.mul(id, inverse);
                    self.neg(product)
                }
            }
            Expr::Pow(a, p) => {
                let lowered = self.pow(a, p - Power::from_integer(1));
                let factor = self.constant(Number::new((*p.numer()).into(), (*p.denom()).into()));
                self.mul(factor, lowered)
            }
            Expr::Apply(func, ref args) => self.partial_of_function(id, func, args, k),
            Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) | Expr::Sum(_) => {
                unreachable!("leaves have no children and sums are opened by the caller")
            }
        }
    }

    /// The partial derivative of `func(args)`, whose id is `id`, in argument `k`.
    fn partial_of_function(&mut self, id: ExprId, func: Func, args: &[ExprId], k: usize) -> ExprId {
        let x = args[0];
        let one = self.integer(1);
        let two = Power::from_integer(2);
        match func {
            Func::Tanh => {
                let square = self.pow(id, two);
                self.sub(one, square)
            }
            Func::Relu => self.apply(Func::Step, x),
            Func::LeakyRelu if k == 0 => {
                // slope + (1 - slope) step(x)
                let step = self.apply(Func::Step, x);
                let rest = self.sub(one, args[1]);
                let upper = self.mul(rest, step);
                self.add(args[1], upper)
            }
            Func::LeakyRelu => {
                let zero = self.integer(0);
                self.apply2(Func::Min, x, zero)
            }
            Func::Abs => self.apply(Func::Sign, x),
            Func::Erf => {
                // 2 / sqrt(pi) exp(-x^2)
                let bump = self.gaussian(x, integer(1));
                let norm = self.inverse_sqrt_pi(integer(1));
                let scaled = self.mul(norm, bump);
                let two = self.integer(2);
                self.mul(two, scaled)
            }
            Func::Exp => id,
            Func::Log => self.div(one, x),
            Func::Sqrt => {
                let half = self.constant(fraction(1, 2));
                self.div(half, id)
            }
            Func::Sin => self.apply(Func::Cos, x),
            Func::Cos => {
                let sine = self.apply(Func::Sin, x);
                self.neg(sine)
            }
            Func::Sigmoid => {
                let rest = self.sub(one, id);
                self.mul(id, rest)
            }
            Func::Softplus => self.apply(Func::Sigmoid, x),
            Func::Gelu => self.gelu_derivative(x),
            Func::Silu => {
                // s(x) (1 + x (1 - s(x)))
                let s = self.apply(Func::Sigmoid, x);
                let rest = self.sub(one, s);
                let tail = self.mul(x, rest);
                let bracket = self.add(one, tail);
                self.mul(s, bracket)
            }
            Func::Elu => {
                let zero = self.integer(0);
                let lower = self.apply2(Func::Min, x, zero);
                self.apply(Func::Exp, lower)
            }
            Func::Step | Func::Sign | Func::Delta => self.integer(0),
            // Of two equal arguments the second passes the derivative on, so that the two shares always add up to one.
            Func::Max | Func::Min => {
                let gap = if func == Func::Max { self.sub(x, args[1]) } else { self.sub(args[1], x) };
                let first = self.apply(Func::Step, gap);
                if k == 0 { first } else { self.sub(one, first) }
            }
        }
    }

    /// `exp(-rate x^2)`
    fn gaussian(&mut self, x: ExprId, rate: Number) -> ExprId {
        let square = self.pow(x, Power::from_integer(2));
        let rate = self.constant(-rate);
        let exponent = self.mul(rate, square);
        self.apply(Func::Exp, exponent)
    }

    /// `(factor pi)^(-1/2)`
    fn inverse_sqrt_pi(&mut self, factor: Number) -> ExprId {
        let pi = self.intern(Expr::Pi);
        let factor = self.constant(factor);
        let scaled = self.mul(factor, pi);
        self.pow(scaled, Power::new(-1, 2))
    }

    /// The derivative of `x Phi(x)`: `(1 + erf(x / sqrt(2))) / 2 + x exp(-x^2 / 2) / sqrt(2 pi)`.
    fn gelu_derivative(&mut self, x: ExprId) -> ExprId {
        let two = self.integer(2);
        let inverse_root = self.pow(two, Power::new(-1, 2));
        let scaled = self.mul(inverse_root, x);
        let erf = self.apply(Func::Erf, scaled);
        let one = self.integer(1);
        let doubled = self.add(one, erf);
        let half = self.constant(fraction(1, 2));
        let cdf = self.mul(half, doubled);
        let bump = self.gaussian(x, fraction(1, 2));
        let norm = self.inverse_sqrt_pi(integer(2));
        let pdf = self.mul(norm, bump);
        let tail = self.mul(x, pdf);
        self.add(cdf, tail)
    }
}
