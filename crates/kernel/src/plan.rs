//! The plan: straight-line programs over the numbers of one input and of two.
//!
//! Nodes are hash-consed and refer to earlier ones only. What depends on one input is computed once an input (`ones`),
//! what depends on two once an entry (`pairs`). Commutative operations have their operands in order, so that a kernel
//! is known to be symmetric when exchanging its two inputs gives the same node.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use netsor_ir::{Func, ValueId};
use rustc_hash::FxHashMap;

use crate::error::KernelError;
use crate::function::{General, SlotFunction};

/// A float that can be compared and hashed, by its bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Real(pub(crate) f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Real {}

impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Which of the two inputs of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    Row,
    Col,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Row => Self::Col,
            Self::Col => Self::Row,
        }
    }
}

/// An operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Arg {
    Const(Real),
    /// A number of one input; among `ones` the side is always `Row`.
    One(u32, Side),
    Pair(u32),
}

/// A vector of one input: a data value at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Block {
    pub(crate) data: u32,
    pub(crate) position: u32,
}

/// A function that is a power of its argument on each side of zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Homogeneous {
    /// 0 or 1.
    pub(crate) degree: u8,
    /// Coefficient for positive arguments.
    pub(crate) right: Real,
    /// Coefficient for negative arguments.
    pub(crate) left: Real,
    /// The value at zero.
    pub(crate) zero: Real,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// Inner product of two vectors of data.
    Gram(Block, Block),
    /// A single number of the data: the value and the position in its row.
    Load(u32, u32),
    /// `constant + sum coefficient * argument`
    Linear {
        terms: Vec<(Real, Arg)>,
        constant: Real,
    },
    Product(Arg, Arg),
    Div(Arg, Arg),
    Power(Arg, Real),
    Apply(Func, Vec<Arg>),
    /// `numerator denominator^(-power)`, 0 where the denominator is 0 up to rounding relative to `size`.
    Quotient {
        numerator: Arg,
        denominator: Arg,
        size: Arg,
        power: Real,
    },
    /// `1 / x`, 0 where `x` is 0.
    Inverse(Arg),
    /// `cov inv_u inv_v` with inverse deviations, in [-1, 1].
    Correlation {
        cov: Arg,
        inv_u: Arg,
        inv_v: Arg,
    },
    /// `acos` of a correlation.
    Angle(Arg),
    /// `E f(u) g(v)` for functions of one degree.
    Rectified {
        rho: Arg,
        angle: Arg,
        sd_u: Arg,
        sd_v: Arg,
        u: Homogeneous,
        v: Homogeneous,
    },
    /// `E f(u) g(v)` for degree 1 and degree 0.
    RectifiedMixed {
        rho: Arg,
        sd_u: Arg,
        sd_v: Arg,
        u: Homogeneous,
        v: Homogeneous,
    },
    /// `E erf(a u) erf(b v)`
    Arcsine {
        cov: Arg,
        uu: Arg,
        vv: Arg,
        a: Real,
        b: Real,
    },
    /// `E exp(-a u^2) exp(-b v^2)`
    Gaussians {
        cov: Arg,
        uu: Arg,
        vv: Arg,
        a: Real,
        b: Real,
    },
    /// `E f(u)`
    Mean {
        f: u32,
        variance: Arg,
    },
    /// `E f(u) g(v)` by Mehler's series.
    Series {
        f: u32,
        g: u32,
        rho: Arg,
        uu: Arg,
        cov: Arg,
        vv: Arg,
    },
    /// `E f(u) g(v)` for polynomials on each side of zero.
    Closed {
        f: u32,
        g: u32,
        uu: Arg,
        cov: Arg,
        vv: Arg,
    },
    /// An expectation by the general integrator: the lower triangle of the covariance, then parameters.
    General {
        integrand: u32,
        args: Vec<Arg>,
    },
}

impl Op {
    /// Calls `f` on the operands.
    pub(crate) fn for_each_arg(&self, mut f: impl FnMut(Arg)) {
        self.clone().map_args(&mut |a| {
            f(a);
            a
        });
    }

    /// The operation with its operands replaced.
    pub(crate) fn map_args(self, f: &mut dyn FnMut(Arg) -> Arg) -> Self {
        match self {
            Self::Gram(..) | Self::Load(..) => self,
            Self::Linear { terms, constant } => {
                Self::Linear { terms: terms.into_iter().map(|(c, a)| (c, f(a))).collect(), constant }
            }
            Self::Product(a, b) => Self::Product(f(a), f(b)),
            Self::Div(a, b) => Self::Div(f(a), f(b)),
            Self::Power(a, p) => Self::Power(f(a), p),
            Self::Quotient { numerator, denominator, size, power } => {
                Self::Quotient { numerator: f(numerator), denominator: f(denominator), size: f(size), power }
            }
            Self::Apply(func, args) => Self::Apply(func, args.into_iter().map(f).collect()),
            Self::Inverse(a) => Self::Inverse(f(a)),
            Self::Correlation { cov, inv_u, inv_v } => {
                Self::Correlation { cov: f(cov), inv_u: f(inv_u), inv_v: f(inv_v) }
            }
            Self::Angle(a) => Self::Angle(f(a)),
            Self::Rectified { rho, angle, sd_u, sd_v, u, v } => {
                Self::Rectified { rho: f(rho), angle: f(angle), sd_u: f(sd_u), sd_v: f(sd_v), u, v }
            }
            Self::RectifiedMixed { rho, sd_u, sd_v, u, v } => {
                Self::RectifiedMixed { rho: f(rho), sd_u: f(sd_u), sd_v: f(sd_v), u, v }
            }
            Self::Arcsine { cov, uu, vv, a, b } => Self::Arcsine { cov: f(cov), uu: f(uu), vv: f(vv), a, b },
            Self::Gaussians { cov, uu, vv, a, b } => Self::Gaussians { cov: f(cov), uu: f(uu), vv: f(vv), a, b },
            Self::Mean { f: function, variance } => Self::Mean { f: function, variance: f(variance) },
            Self::Series { f: left, g, rho, uu, cov, vv } => {
                Self::Series { f: left, g, rho: f(rho), uu: f(uu), cov: f(cov), vv: f(vv) }
            }
            Self::Closed { f: left, g, uu, cov, vv } => Self::Closed { f: left, g, uu: f(uu), cov: f(cov), vv: f(vv) },
            Self::General { integrand, args } => Self::General { integrand, args: args.into_iter().map(f).collect() },
        }
    }

    /// The same operation with commuting operands in order.
    pub(crate) fn canonical(self) -> Self {
        match self {
            Self::Linear { mut terms, constant } => {
                terms.sort_by_key(|&(_, a)| a);
                Self::Linear { terms, constant }
            }
            Self::Product(a, b) if b < a => Self::Product(b, a),
            Self::Correlation { cov, inv_u, inv_v } if inv_v < inv_u => {
                Self::Correlation { cov, inv_u: inv_v, inv_v: inv_u }
            }
            Self::Rectified { rho, angle, sd_u, sd_v, u, v } if (sd_v, v) < (sd_u, u) => {
                Self::Rectified { rho, angle, sd_u: sd_v, sd_v: sd_u, u: v, v: u }
            }
            Self::Arcsine { cov, uu, vv, a, b } if (vv, b) < (uu, a) => {
                Self::Arcsine { cov, uu: vv, vv: uu, a: b, b: a }
            }
            Self::Gaussians { cov, uu, vv, a, b } if (vv, b) < (uu, a) => {
                Self::Gaussians { cov, uu: vv, vv: uu, a: b, b: a }
            }
            Self::Series { f, g, rho, uu, cov, vv } if (vv, g) < (uu, f) => {
                Self::Series { f: g, g: f, rho, uu: vv, cov, vv: uu }
            }
            Self::Closed { f, g, uu, cov, vv } if (vv, g) < (uu, f) => Self::Closed { f: g, g: f, uu: vv, cov, vv: uu },
            other => other,
        }
    }
}

/// Nodes in the order of evaluation, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) ops: Vec<Op>,
    known: FxHashMap<Op, u32>,
}

impl Nodes {
    pub(crate) fn intern(&mut self, op: Op) -> u32 {
        if let Some(&id) = self.known.get(&op) {
            return id;
        }
        let id = self.ops.len() as u32;
        self.ops.push(op.clone());
        self.known.insert(op, id);
        id
    }
}

/// What the plan knows of a data value.
#[derive(Clone, Debug)]
pub(crate) struct DataInfo {
    pub(crate) value: ValueId,
    pub(crate) name: String,
    /// Coordinates of one vector.
    pub(crate) coordinates: usize,
    /// Numbers an input.
    pub(crate) stride: usize,
}

/// One requested kernel.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    pub(crate) name: String,
    pub(crate) value: Arg,
    /// The same for twice the same input.
    pub(crate) diagonal: Arg,
    /// Whether exchanging the inputs provably changes nothing.
    pub(crate) symmetric: bool,
}

/// A compiled kernel: what to compute for each input, and for each pair of inputs.
///
/// Made by [`lower`](crate::lower), run by [`Plan::run`]. It does not depend on the number of inputs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) data: Vec<DataInfo>,
    pub(crate) ones: Vec<Op>,
    pub(crate) pairs: Vec<Op>,
    pub(crate) functions: Vec<SlotFunction>,
    pub(crate) integrands: Vec<General>,
    pub(crate) roots: Vec<Root>,
}

/// How large a plan is, and which methods it uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanSize {
    /// Operations an input.
    pub ones: usize,
    /// Operations an entry.
    pub pairs: usize,
    /// Inner products of data an entry.
    pub grams: usize,
    /// Closed forms an entry, and series of functions that have one.
    pub closed_forms: usize,
    /// Series an entry of functions without a closed form.
    pub series: usize,
    /// Integrals by the general integrator an entry.
    pub integrals: usize,
}

impl Plan {
    /// How much there is to do.
    pub fn size(&self) -> PlanSize {
        let mut size = PlanSize { ones: self.ones.len(), pairs: self.pairs.len(), ..PlanSize::default() };
        for op in &self.pairs {
            match op {
                Op::Gram(..) => size.grams += 1,
                Op::Series { f, g, .. } => match self.functions[*f as usize].closed(&self.functions[*g as usize]) {
                    Some(_) => size.closed_forms += 1,
                    None => size.series += 1,
                },
                Op::General { .. } => size.integrals += 1,
                Op::Rectified { .. }
                | Op::RectifiedMixed { .. }
                | Op::Arcsine { .. }
                | Op::Gaussians { .. }
                | Op::Closed { .. } => size.closed_forms += 1,
                _ => {}
            }
        }
        size
    }

    /// Names of the kernels, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|root| root.name.as_str())
    }

    /// Whether each kernel is symmetric as a function of two inputs, as far as the plan can prove it.
    pub fn symmetric(&self) -> impl Iterator<Item = bool> {
        self.roots.iter().map(|root| root.symmetric)
    }

    /// The plan of everything that `roots` need, renumbered without the rest.
    pub(crate) fn assemble(
        data: Vec<DataInfo>,
        ones: Nodes,
        pairs: Nodes,
        functions: Vec<SlotFunction>,
        integrands: Vec<General>,
        mut roots: Vec<Root>,
    ) -> Result<Self, KernelError> {
        let swapped = exchanged(&pairs);
        for root in &mut roots {
            root.symmetric = exchange(root.value, &swapped) == Some(root.value);
        }
        let mut live_pairs = vec![false; pairs.ops.len()];
        let mut live_ones = vec![false; ones.ops.len()];
        for root in &roots {
            for arg in [root.value, root.diagonal] {
                match arg {
                    Arg::Pair(p) => live_pairs[p as usize] = true,
                    Arg::One(o, _) => live_ones[o as usize] = true,
                    Arg::Const(_) => {}
                }
            }
        }
        for (at, op) in pairs.ops.iter().enumerate().rev() {
            if live_pairs[at] {
                op.for_each_arg(|arg| match arg {
                    Arg::Pair(p) => live_pairs[p as usize] = true,
                    Arg::One(o, _) => live_ones[o as usize] = true,
                    Arg::Const(_) => {}
                });
            }
        }
        for (at, op) in ones.ops.iter().enumerate().rev() {
            if live_ones[at] {
                op.for_each_arg(|arg| {
                    if let Arg::One(o, _) = arg {
                        live_ones[o as usize] = true;
                    }
                });
            }
        }
        let number = |live: &[bool]| -> Vec<u32> {
            let mut next = 0;
            live.iter()
                .map(|&l| {
                    if l {
                        next += 1;
                        next - 1
                    } else {
                        u32::MAX
                    }
                })
                .collect()
        };
        let (new_ones, new_pairs) = (number(&live_ones), number(&live_pairs));
        let mut rename = |arg: Arg| match arg {
            Arg::One(o, side) => Arg::One(new_ones[o as usize], side),
            Arg::Pair(p) => Arg::Pair(new_pairs[p as usize]),
            constant => constant,
        };
        for root in &mut roots {
            root.value = rename(root.value);
            root.diagonal = rename(root.diagonal);
        }
        let mut keep = |ops: Vec<Op>, live: &[bool]| -> Vec<Op> {
            ops.into_iter().zip(live).filter(|(_, l)| **l).map(|(op, _)| op.map_args(&mut rename)).collect()
        };
        let ones = keep(ones.ops, &live_ones);
        let pairs = keep(pairs.ops, &live_pairs);
        Ok(Self { data, ones, pairs, functions, integrands, roots })
    }
}

/// For each node the one that it becomes when the two inputs are exchanged, if there is one.
fn exchanged(pairs: &Nodes) -> Vec<Option<u32>> {
    let mut swapped: Vec<Option<u32>> = Vec::with_capacity(pairs.ops.len());
    for op in &pairs.ops {
        let mut complete = true;
        let other = match op {
            Op::Gram(a, b) => Op::Gram(*b, *a),
            op => op
                .clone()
                .map_args(&mut |arg| match exchange(arg, &swapped) {
                    Some(arg) => arg,
                    None => {
                        complete = false;
                        arg
                    }
                })
                .canonical(),
        };
        // Partners come in pairs: the later one of two finds the earlier, and tells it.
        let found = complete.then(|| pairs.known.get(&other).copied()).flatten();
        swapped.push(found);
    }
    swapped
}

fn exchange(arg: Arg, swapped: &[Option<u32>]) -> Option<Arg> {
    match arg {
        Arg::Const(_) => Some(arg),
        Arg::One(o, side) => Some(Arg::One(o, side.other())),
        Arg::Pair(p) => swapped[p as usize].map(Arg::Pair),
    }
}
